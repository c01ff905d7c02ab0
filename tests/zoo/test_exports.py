"""``wavezoo publish --with``: exported files in the same commit."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from wavenet_zoo import WavezooError, publish
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.zoo.exports import check_exports

MODEL, REPO = "waveletnet_cifar_m1", "zoo/waveletnet-digits"
PUBLISH = """
import sys
from wavenet_zoo import publish
for exports in (["onnx", "onnx-int8"], ["onnx", "onnx-int8"], []):
    options = {"calibrate": "digits", "max_drop": 5.0} if exports else {}
    print(publish("waveletnet_cifar_m1", sys.argv[1], "zoo/waveletnet-digits", exports=exports, **options).changed)
"""


@pytest.mark.long
def test_exported_files_are_in_the_commit_and_uploaded_once(hub, run, weights, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    finished = run("-c", PUBLISH, weights)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["True", "False", "True"]  # the third changes the card
    (_, (_, files), (_, last)) = hub.repositories[REPO].commits
    content = files["onnx/model.onnx"]
    card = files["README.md"].decode()
    assert f"| `onnx/model.onnx` | {len(content):,} |" in card
    int8 = json.loads(files["onnx/model_int8.onnx.json"])["checks"]
    assert f"top-1 {int8['top1']:.2f} % on digits (360 images), {int8['difference']:+.2f} points" in card
    assert "Exported" not in last["README.md"].decode() and "onnx/model.onnx is not updated" in finished.stderr
    for path in (b"site-packages", str(tmp_path).encode(), str(Path.cwd()).encode()):
        assert not [name for name, content in files.items() if path in content]
    (tmp_path / "model.onnx").write_bytes(content)
    network, known, _ = open_exported_file(tmp_path / "model.onnx")
    assert known.metadata.data == "digits" and network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.fixture
def exporter(monkeypatch):
    """Replace the export; return its calls."""
    calls = []

    def install(text="{}", content=b"exported", preprocessing=None):
        def export(model, to, out, weights, **options):
            calls.append((to, out.name, options))
            out.write_bytes(content)
            out.with_name(f"{out.name}.json").write_text(text)
            own = "resize to 32 px (bicubic), center crop 32 x 32, mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"
            return SimpleNamespace(preprocessing=preprocessing or own, int8=None)

        monkeypatch.setattr("wavenet_zoo.zoo.exports.export", export)
        return calls

    return install


def test_int8_options_reach_only_int8_exports(exporter, weights, tmp_path):
    calls = exporter()
    published = publish(
        MODEL, weights, REPO, dry_run=True, out=tmp_path / "out", exports=["onnx", "onnx-int8"], data="digits",
        calibrate="digits", max_drop=0.5,
    )  # fmt: skip
    (fp32, int8) = calls
    assert fp32[:2] == ("onnx", "model.onnx") and int8[:2] == ("onnx", "model_int8.onnx")
    assert {key: int8[2][key] for key in int8[2].keys() - fp32[2].keys()} == {
        "int8": True, "calibrate": "digits", "max_drop": 0.5,
    }  # fmt: skip
    assert fp32[2]["data"] == "digits" and fp32[2]["size"] == 32
    names = {"onnx/model.onnx", "onnx/model.onnx.json", "onnx/model_int8.onnx", "onnx/model_int8.onnx.json"}
    assert names < set(published.files)
    assert all((tmp_path / "out" / name).is_file() for name in names)
    publish(MODEL, weights, REPO, dry_run=True, out=tmp_path / "out", exports=["onnx", "onnx-int8"])  # over itself
    assert calls[-1][2]["max_drop"] == 1.0
    with pytest.raises(WavezooError, match=r"contains other files, for example onnx/model_int8\.onnx"):
        publish(MODEL, weights, REPO, dry_run=True, out=tmp_path / "out", exports=["onnx"])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"text": json.dumps({"data": "/home/me/images"})}, "model.onnx.json: data: '/home/me/images' is a path"),
        ({"content": f"x{Path(torch.__file__).parents[1]}/torch".encode()}, "model.onnx: contains a path of this"),
        ({"preprocessing": "resize to 64 px"}, "--with onnx: the evaluation has another preprocessing"),
    ],
)
def test_exported_file_that_may_not_be_published_is_refused(exporter, weights, tmp_path, made, message):
    exporter(**made)
    with pytest.raises(WavezooError, match=message):
        publish(MODEL, weights, REPO, dry_run=True, out=tmp_path / "out", exports=["onnx"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("exports", "calibrate", "message"),
    [
        (["onxx"], None, "--with onxx: unknown format 'onxx' .did you mean 'onnx'"),
        (["int8"], None, "--with int8: unknown format 'int8' .use onnx, "),
        (["onnx", "pt2", "onnx"], None, "--with onnx: repeated"),
        (["onnx"], "digits", "--calibrate digits: no format is int8"),
    ],
)
def test_invalid_request_for_exports_is_refused(exports, calibrate, message):
    with pytest.raises(WavezooError, match=message):
        check_exports(exports, calibrate)
    check_exports(["onnx", "onnx-int8"], "digits")


def test_with_takes_formats_separated_by_commas(wavezoo, weights):
    finished = wavezoo("publish", MODEL, "--weights", weights, "--repo", REPO, "--dry-run", "--with", "onnx, tflight")
    assert finished.code == 2 and "--with tflight: unknown format" in finished.err


@pytest.mark.parametrize(
    ("given", "expected"), [([], 1.0), (["--max-drop", "0.5"], 0.5), (["--max-drop", "none"], None)]
)
def test_max_drop_of_publish_is_that_of_export(given, expected, exporter, wavezoo, weights):
    calls = exporter()
    options = ["--weights", weights, "--repo", REPO, "--dry-run", "--calibrate", "digits"]
    finished = wavezoo("publish", MODEL, *options, "--with", "onnx,onnx-int8", *given)
    assert finished.code == 0, finished.err
    assert [options.get("max_drop", "not passed") for *_, options in calls] == ["not passed", expected]


@pytest.mark.parametrize("exports", [[], ["--with", "onnx"]])
def test_max_drop_of_publish_requires_an_int8_file(exports, wavezoo, weights):
    options = ["--weights", weights, "--repo", REPO, "--dry-run", "--max-drop", "none"]
    finished = wavezoo("publish", MODEL, *options, *exports)
    assert finished.code == 2 and "--max-drop requires --with FORMAT-int8" in finished.err
    assert len(finished.err.strip().splitlines()) == 1


@pytest.mark.parametrize("points", ["-1", "nan", "no"])
def test_max_drop_of_publish_is_points_or_none(points, wavezoo, weights):
    options = ["--weights", weights, "--repo", REPO, "--with", "onnx-int8", "--max-drop", points]
    finished = wavezoo("publish", MODEL, *options)
    assert finished.code == 2 and f"'{points}' is neither a number of points" in finished.err
