"""Data sets with timm's names: Hugging Face datasets, torchvision, tar files, WebDataset shards."""

import json
import pickle
import sys
import tarfile

import numpy as np
import pytest

from wavenet_zoo import WavezooError, evaluate, train
from wavenet_zoo.data.open import open_data

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore::ResourceWarning")
MODEL = "waveletnet_cifar_m1"


def images_of(folder, split):
    for number, name in enumerate("0123456789"):
        for file in sorted((folder / split / name).glob("*.png")):
            yield number, name, file


@pytest.fixture
def tar_folder(digit_folder, tmp_path):
    """A folder with train.tar and val.tar, each with one folder per class."""
    (tmp_path / "tars").mkdir()
    for split in ("train", "val"):
        with tarfile.open(tmp_path / "tars" / f"{split}.tar", "w") as tar:
            tar.add(digit_folder / split, arcname=split)
    return tmp_path / "tars"


@pytest.fixture
def shards(digit_folder, tmp_path):
    """A folder of WebDataset shards, two per split, as ImageNet on the Hub: key.png, key.cls, key.json."""
    folder = tmp_path / "digits-wds"
    folder.mkdir()
    for split in ("train", "val"):
        for shard in range(2):
            with tarfile.open(folder / f"digits-{split}-{shard:04d}.tar", "w") as tar:
                for index, (label, name, file) in enumerate(images_of(digit_folder, split)):
                    if index % 2 != shard:
                        continue
                    for extension, content in (
                        ("png", file.read_bytes()),
                        ("cls", str(label).encode()),
                        ("json", json.dumps({"name": name}).encode()),
                    ):
                        path = tmp_path / f"sample.{extension}"
                        path.write_bytes(content)
                        tar.add(path, arcname=f"{split}_{index:04d}.{extension}")
                        path.unlink()
    return folder


@pytest.fixture
def parquet(digit_folder, tmp_path):
    """A folder of parquet files, as data sets on the Hub."""
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    folder = tmp_path / "digits-parquet"
    folder.mkdir()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=[str(number) for number in range(10)])}
    )
    for split, name in (("train", "train"), ("val", "validation")):
        rows = [{"image": str(file), "label": label} for label, _, file in images_of(digit_folder, split)]
        dataset = datasets.Dataset.from_list(rows, features=features)
        dataset.map(lambda row: row).to_parquet(folder / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture(params=["tar_folder", "shards", "parquet"])
def same_images(request, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = request.getfixturevalue(request.param)
    return {"tar_folder": "", "shards": "wds/", "parquet": "hfds/"}[request.param] + str(folder)


def test_evaluation_equals_that_of_the_image_folder(same_images, digit_folder):
    reference = evaluate(MODEL, None, digit_folder, workers=0, per_class=True)
    for workers in (0, 2):
        result = evaluate(MODEL, None, same_images, workers=workers, per_class=True)
        assert result.per_class == reference.per_class and result.images == 30
        assert result.correct_top5 == reference.correct_top5
    assert result.data["fingerprint"] != evaluate(MODEL, None, same_images, split="train").data["fingerprint"]


def test_training_runs_and_a_finished_run_is_returned(same_images, tmp_path):
    overrides = ["batch_size=20", "schedule.epochs=1"]
    run = train("digits", same_images, tmp_path / "run", overrides, workers=2)
    assert run.last["train_loss"] < 3
    assert train("digits", same_images, tmp_path / "run", overrides) == run
    with tmp_path.joinpath("run", "run.json").open() as file:
        assert str(tmp_path) not in json.load(file)["metadata"]["data"]


def test_sources_can_be_pickled_for_spawned_workers(same_images):
    source = open_data(same_images, "val")
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(np.asarray(source.load(7)), np.asarray(copy.load(7)))
    assert source.describe(7).endswith(("image 7", "val_0014", "val.tar: val/2/1.png"))
    assert source.relative_path(7) in ("7", "digits-val-0000.tar/val_0014", "val/2/1.png")


def test_torchvision_data_sets_open_by_timms_names(tmp_path, monkeypatch):
    monkeypatch.setenv("WAVEZOO_DATA", str(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 20), ("t10k", 6)):
        images = rng.integers(0, 255, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = np.array([2051, count, 28, 28], ">i4").tobytes()
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(np.array([2049, count], ">i4").tobytes() + labels.tobytes())
    training, validation = open_data("torch/mnist", "train"), open_data("torch/mnist", "val")
    assert (len(training.targets), len(validation.targets)) == (20, 6)
    assert (training.split, validation.split) == ("train", "test")
    assert training.classes[3] == "3 - three" and training.load(0).mode == "RGB" and training.targets[11] == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("tfds/imagenet2012", "tfds/imagenet2012: tfds/ is not supported, its images cannot be read by index"),
        ("hfids/org/name", "use hfds/ or wds/ for the same data set"),
        ("torch/nothing_like_it", "torch/nothing_like_it: cannot be opened: Unknown torchvision dataset"),
        ("wds/no/such/folder", "wds/no/such/folder: no such folder"),
        ("broken.tar", "broken.tar: cannot be read"),
    ],
)
def test_data_that_cannot_be_opened_raises_one_line(tmp_path, monkeypatch, data, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(WavezooError) as error:
        open_data(data, "val")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_missing_datasets_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(WavezooError, match=r"requires the package datasets .pip install datasets"):
        open_data("hfds/org/name", "val")


@pytest.mark.parametrize("disabled", [False, True])
def test_opening_parquet_keeps_the_progress_bars_of_datasets(parquet, tmp_path, monkeypatch, disabled):
    import datasets

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    was_disabled = datasets.are_progress_bars_disabled()
    set_bars = {True: datasets.disable_progress_bars, False: datasets.enable_progress_bars}
    set_bars[disabled]()
    try:
        open_data(f"hfds/{parquet}", "val")
        assert datasets.are_progress_bars_disabled() is disabled
    finally:
        set_bars[was_disabled]()


@pytest.mark.reliability(17)
def test_unknown_split_lists_available_splits(parquet, shards, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with pytest.raises(WavezooError, match=r"no split 'dev' .available splits: train, validation"):
        open_data(f"hfds/{parquet}", "dev")
    with pytest.raises(WavezooError, match="no shard of split 'dev' in 4 tar files"):
        open_data(f"wds/{shards}", "dev")


def test_info_file_selects_shards_and_class_list_names_classes(shards):
    info = {
        "splits": {
            "train": {"filenames": ["digits-train-0001.tar"]},
            "validation": {"filenames": ["digits-val-0000.tar"]},
        }
    }
    (shards / "_info.json").write_text(json.dumps(info))
    (shards / "classes.txt").write_text("\n".join("abcdefghij"))
    source = open_data(f"wds/{shards}", "val")
    assert len(source.targets) == 15 and source.classes == list("abcdefghij")
    (shards / "classes.txt").write_text("a\nb\n")
    with pytest.raises(WavezooError, match="lists 2 classes, but the shards have label 9"):
        open_data(f"wds/{shards}", "val")


def test_damaged_shard_is_named(shards):
    shard = shards / "digits-val-0001.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(WavezooError, match=r"digits-val-0001.tar: cannot be read"):
        open_data(f"wds/{shards}", "val")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write a parquet file with given columns; ``image`` is bytes of PNG files."""
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")

    def write(columns, features=None):
        folder = tmp_path / f"table{len(list(tmp_path.glob('table*')))}"
        folder.mkdir()
        dataset = datasets.Dataset.from_dict(columns, features=features and datasets.Features(features))
        dataset.to_parquet(folder / "train-00000-of-00001.parquet")
        return f"hfds/{folder}"

    return write


@pytest.mark.reliability(18, 37)
def test_columns_of_parquet_files_are_found_by_name_and_type(table, png):
    import datasets

    images, raw = [{"bytes": png(k), "path": None} for k in range(3)], [png(k) for k in range(3)]
    names = datasets.ClassLabel(names=["x", "y", "z"])
    kinds = datasets.Value("int64"), datasets.Value("string"), datasets.Image(), datasets.Value("binary")
    integer, text, image, binary = kinds
    for columns, features, classes, targets in (
        ({"img": images, "label": [2, 0, 1]}, {"img": image, "label": names}, ["x", "y", "z"], [2, 0, 1]),
        ({"image": images, "labels": [2, 0, 1]}, {"image": image, "labels": integer}, ["0", "1", "2"], [2, 0, 1]),
        (
            {"image": raw, "fine_label": ["b", "10", "2"], "coarse_label": [0, 0, 0]},
            {"image": binary, "fine_label": text, "coarse_label": integer},
            ["2", "10", "b"],
            [2, 1, 0],
        ),
        (
            {"image": images, "label": [1, 0, 1], "fine_label": [5, 6, 7]},
            {"image": image, "label": integer, "fine_label": integer},
            ["0", "1"],
            [1, 0, 1],
        ),
    ):
        source = open_data(table(columns, features), "train")
        assert (source.classes, source.targets) == (classes, targets)
        assert source.content(1) == png(1) and source.load(2).size == (4, 4)


@pytest.mark.reliability(18, 37)
def test_unusable_columns_of_parquet_files_are_one_line(table, png):
    raw = [png(k) for k in range(3)]
    for columns, message in (
        ({"picture": raw, "label": [0, 1, 2]}, "no column of images, its columns are picture, label"),
        ({"image": raw, "class": [0, 1, 2]}, "no column of labels, its columns are image, class"),
        ({"image": raw, "labels": [0, 1, 2], "fine_label": [0, 1, 2]}, "several columns of labels"),
        ({"image": raw, "label": [0.0, 1.0, 2.0]}, "column 'label' has the type float64"),
        ({"image": raw, "label": [True, False, True]}, "column 'label' has the type bool"),
        ({"image": raw, "label": [[0], [1], [2]]}, "column 'label' has the type List"),
        ({"image": raw, "label": [0, None, 2]}, "1 of 3 images have no label"),
        ({"image": raw, "label": [0, -1, -1]}, "train: 2 of 3 images have no label (-1)"),
        ({"image": [None, *raw[1:]], "label": [0, 1, 2]}, "1 of 3 rows have no image"),
        ({"image": [1, 2, 3], "label": [0, 1, 2]}, "cannot be opened: "),
    ):
        with pytest.raises(WavezooError) as error:
            open_data(table(columns), "train")
        assert message in error.value.message and "\n" not in str(error.value)


@pytest.mark.reliability(18)
def test_damaged_and_empty_parquet_files_are_one_line(table, tmp_path):
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "train.parquet").write_bytes(b"PAR1junkPAR1")
    for data in (f"hfds/{tmp_path / 'junk'}", table({"image": [], "label": []})):
        with pytest.raises(WavezooError) as error:
            open_data(data, "train")
        assert data in error.value.message and "\n" not in str(error.value)


@pytest.mark.reliability(17)
def test_torchvision_data_without_that_split_is_refused():
    with pytest.raises(WavezooError, match=r"torch/mnist: no split 'dev' .available splits: train, test"):
        open_data("torch/mnist", "dev")
    with pytest.raises(WavezooError, match="torch/image_folder: is a folder"):
        open_data("torch/image_folder", "train")
