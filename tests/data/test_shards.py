"""WebDataset shards: every sample is counted once with its label, or the shard is rejected."""

import json

import pytest

from wavenet_zoo.data.open import open_data
from wavenet_zoo.errors import WavezooError


@pytest.mark.reliability(17, 38)
@pytest.mark.parametrize(
    ("names", "split", "chosen", "used"),
    [
        (["retrieval-train-0.tar", "retrieval-val-0.tar"], "val", ["retrieval-val-0.tar"], "val"),
        (["latest-train-0.tar", "latest-test-0.tar"], "test", ["latest-test-0.tar"], "test"),
        (["constraint-train-0.tar", "constraint-val-0.tar"], "train", ["constraint-train-0.tar"], "train"),
        (["x_train2017_0.tar", "x_VAL2017_0.tar"], "val", ["x_VAL2017_0.tar"], "val"),
        (["train/0.tar", "validation/0.tar"], "val", ["0.tar"], "validation"),
        (["train-0.tar", "test-0.tar"], "val", ["test-0.tar"], "test"),
        (["dev-0.tar", "train-0.tar", "._dev-1.tar"], "dev", ["dev-0.tar"], "dev"),
    ],
)
def test_split_is_a_word_in_the_path_of_a_shard(write_shard, tmp_path, names, split, chosen, used):
    for name in names:
        write_shard(f"data/{name}", range(3))
    source = open_data(f"wds/{tmp_path / 'data'}", split)
    assert [shard.name for shard in source.archives] == chosen and source.split == used


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a-val-0.tar"], ["0000", "sub/0001"]),
        (["a-val-0.tar", "a-val-1.tar"], [f"a-val-{n}.tar/{key}" for n in (0, 1) for key in ("0000", "sub/0001")]),
        (["val/a/0.tar", "val/b/0.tar"], [f"{a}/0.tar/{key}" for a in "ab" for key in ("0000", "sub/0001")]),
    ],
)
def test_relative_path_is_the_key_after_one_of_several_shards(write_tar, tmp_path, names, expected):
    for name in names:
        samples = [("./0000.png", 0), ("0000.cls", b"0"), ("sub/0001.png", 1), ("sub/0001.cls", b"1")]
        write_tar(f"data/{name}", *samples)
    source = open_data(f"wds/{tmp_path / 'data'}", "val")
    assert [source.relative_path(i) for i in range(len(source.targets))] == expected


@pytest.mark.reliability(17, 38)
@pytest.mark.parametrize(
    ("names", "split", "message"),
    [
        (["val-train-0.tar"], "val", "val-train-0.tar belongs to the splits 'val' and 'train'"),
        (["test-set/train-0.tar"], "train", "test-set/train-0.tar belongs to the splits 'train' and 'test'"),
        (["retrieval-0.tar"], "val", "no shard of split 'val' in 1 tar files"),
        (["val-0.tar", "train-0.tar"], "test", "no shard of split 'test' in 2 tar files"),
    ],
)
def test_shard_of_two_splits_or_of_none_is_an_error(write_shard, tmp_path, names, split, message):
    for name in names:
        write_shard(f"data/{name}", range(3))
    with pytest.raises(WavezooError) as error:
        open_data(f"wds/{tmp_path / 'data'}", split)
    assert message in error.value.message


@pytest.mark.reliability(18, 38)
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("b.png", 0)], "b.png has no .cls file (1 of 2 such files)"),
        ([("b.cls", b"1")], "b.cls belongs to no image"),
        ([("b.left.png", 0), ("b.cls", b"1")], "b.cls belongs to no image"),
        ([("b.1.png", 0), ("b.1.cls", b"1")], "b.1.png belongs to no sample"),
        ([("a.jpg", 0)], "two images of one sample: a.png and a.jpg"),
        ([("a.png", 0), ("a.cls", b"1")], "two images of one sample: a.png and a.png"),
        ([("./a.cls", b"1")], "two labels of one sample: a.cls and ./a.cls"),
        ([("b.png", 0), ("b.cls", b"cat")], "b.cls: 'cat' is not the number of a class"),
        ([("b.png", 0), ("b.cls", b"0.5")], "b.cls: '0.5' is not the number of a class"),
        ([("b.png", 0), ("b.cls", b"1" * 5000)], "is not the number of a class"),
        ([("b.png", 0), ("b.cls", b"")], "b.cls: '' is not the number of a class"),
        ([("b.png", 0), ("b.cls", b"99999999")], "label 99999999 is too large for a class index"),
    ],
)
def test_sample_without_one_image_and_label_is_named(write_tar, tmp_path, members, message):
    write_tar("data/x-val-0.tar", ("a.png", 0), ("a.cls", b"0"), *members)
    with pytest.raises(WavezooError) as error:
        open_data(f"wds/{tmp_path / 'data'}", "val")
    assert message in error.value.message


@pytest.mark.reliability(38)
def test_other_files_of_a_sample_and_of_macos_are_ignored(write_tar, tmp_path):
    members = [("a.png", 0), ("a.CLS", b" 1\n"), ("a.seg.png", 0), ("a.json", b"{}"), ("README.md", b"")]
    write_tar("data/x-val-0.tar", *members, ("._a.png", b"\0\5\26\7"), ("._a.cls", b"\0\5\26\7"))
    source = open_data(f"wds/{tmp_path / 'data'}", "val")
    assert (source.targets, source.classes) == ([1], ["0", "1"]) and source.load(0).size == (4, 4)


@pytest.mark.reliability(38)
@pytest.mark.parametrize(
    ("content", "classes"),
    [
        ("great white shark\ntiger shark\n".encode("utf-8-sig"), ["great white shark", "tiger shark"]),
        (b"a b\r\nc\r\n\r\n", ["a b", "c"]),
        ("caf\u00e9\nb\u2028c".encode(), ["caf\u00e9", "b\u2028c"]),
    ],
)
def test_class_list_has_one_name_per_line(write_shard, tmp_path, content, classes):
    write_shard("data/x-val-0.tar", [0, 1])
    (tmp_path / "data" / "classes.txt").write_bytes(content)
    assert open_data(f"wds/{tmp_path / 'data'}", "val").classes == classes


@pytest.mark.reliability(38)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9\nb\n", "classes.txt: is not UTF-8: invalid continuation byte at byte 3"),
        (b"a\n\nb\n", "classes.txt: line 2 has no class name"),
        (b"a b\n", "classes.txt: lists 1 classes, but the shards have label 1"),
        (None, "classes.txt: cannot be read: is a named pipe"),
    ],
)
def test_invalid_class_list_is_rejected(write_shard, tmp_path, content, message):
    import os

    write_shard("data/x-val-0.tar", [0, 1])
    names = tmp_path / "data" / "classes.txt"
    os.mkfifo(names) if content is None else names.write_bytes(content)
    with pytest.raises(WavezooError) as error:
        open_data(f"wds/{tmp_path / 'data'}", "val")
    assert message in error.value.message


@pytest.mark.reliability(18, 23, 38)
@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("[" * 100_000, "_info.json: not valid JSON: nested too deep"),
        ([], "_info.json: not a JSON object"),
        ({"splits": 5}, "'splits' is missing, or is not an object"),
        ({"splits": {"val": 5}}, "'filenames' is missing, or is not a list"),
        ({"splits": {"val": {"filenames": 5}}}, "'filenames' is missing, or is not a list"),
        ({"splits": {"val": {"filenames": [5]}}}, "'filenames' is missing, or is not a list"),
        ({"splits": {"val": {"filenames": []}}}, "split 'val' lists no shards"),
        ({"splits": {"train": {"filenames": []}}}, "no split 'val'"),
        ({"splits": {"val": {"filenames": ["../x.tar"]}}}, "'../x.tar' leads out of the folder"),
        ({"splits": {"val": {"filenames": ["/x.tar"]}}}, "'/x.tar' leads out of the folder"),
        ({"splits": {"val": {"filenames": ["gone.tar"]}}}, "gone.tar: is missing, or is not a regular file"),
        ({"splits": {"val": {"filenames": ["n" * 5000]}}}, "cannot be read: File name too long"),
        ({"splits": {"val": {"filenames": ["a.tar", "./a.tar"]}}}, "a.tar is listed twice in split 'val'"),
        (
            {"splits": {"train": {"filenames": ["a.tar"]}, "validation": {"filenames": ["a.tar"]}}},
            "a.tar belongs to the splits 'train' and 'validation'",
        ),
    ],
)
def test_invalid_info_file_is_one_line(write_shard, tmp_path, info, message):
    write_shard("x.tar", [0, 1])
    write_shard("data/a.tar", [0, 1])
    (tmp_path / "data" / "_info.json").write_text(info if isinstance(info, str) else json.dumps(info))
    with pytest.raises(WavezooError) as error:
        open_data(f"wds/{tmp_path / 'data'}", "val")
    assert message in error.value.message and "\n" not in str(error.value)


@pytest.mark.reliability(18, 38)
def test_half_of_a_shard_is_not_evaluated(write_shard, tmp_path):
    shard = write_shard("data/x-val-0.tar", range(10))
    shard.write_bytes(shard.read_bytes()[:10240])
    with pytest.raises(WavezooError, match=r"x-val-0.tar: cannot be read"):
        open_data(f"wds/{tmp_path / 'data'}", "val")


@pytest.mark.reliability(38)
def test_compressed_shards_are_reported(write_shard, tmp_path):
    import gzip

    shard = write_shard("data/x-val-0.tar", range(3))
    (tmp_path / "data" / "x-val-1.tar.gz").write_bytes(gzip.compress(shard.read_bytes()))
    with pytest.raises(WavezooError, match=r"x-val-1.tar.gz: is compressed with gzip"):
        open_data(f"wds/{tmp_path / 'data'}", "val")
