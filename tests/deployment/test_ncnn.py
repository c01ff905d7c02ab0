"""Files for ncnn: converted by pnnx, run by ncnn."""

import json
import sys

import pytest
import torch

from wavenet_zoo import evaluate, export
from wavenet_zoo.deployment.formats import ncnn as ncnn_format
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.errors import WavezooError

ncnn = pytest.importorskip("ncnn", reason="needs the extra ncnn")
pytest.importorskip("pnnx", reason="needs the extra ncnn")
pytestmark = pytest.mark.long  # converts models

MODEL = "waveletnet_cifar_m1"


@pytest.fixture(scope="module")
def ncnn_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("ncnn") / "m1.ncnn.param"
    return export(MODEL, "ncnn", path, form={"blocks.1.0": "halves", "blocks.2.0": "factored"}), path


@pytest.fixture
def copy(ncnn_file, tmp_path):
    """A copy of the three files in an empty folder."""
    for file in ncnn_file[1].parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "m1.ncnn.param"


def test_ncnn_file_gives_the_counts_of_the_network(ncnn_file, wavezoo):
    result, path = ncnn_file
    assert result.largest_difference < 1e-4
    ours = evaluate(MODEL, limit="100")
    theirs = wavezoo("eval", path, "--limit", 100, "--json").json
    assert (theirs["correct_top1"], theirs["correct_top5"]) == (ours.correct_top1, ours.correct_top5)
    assert theirs["form"] == "mixed"
    assert theirs["weights"]["sha256"] == result.sha256


def test_sidecar_has_the_names_of_the_blobs_and_both_files(ncnn_file):
    result, path = ncnn_file
    net = ncnn.Net()
    assert (net.load_param(str(path)), net.load_model(str(path.with_name("m1.ncnn.bin")))) == (0, 0)
    sidecar = json.loads(path.with_name("m1.ncnn.param.json").read_text())
    assert [sidecar["input"]["name"]] == net.input_names()
    assert [sidecar["output"]["name"]] == net.output_names()
    assert sidecar["input"]["max_batch"] == 1
    assert list(sidecar["files"]) == list(result.files) == ["m1.ncnn.param", "m1.ncnn.bin"]
    assert {file.name for file in path.parent.iterdir()} == {*result.files, "m1.ncnn.param.json"}


def test_ncnn_file_with_softmax_returns_probabilities(tmp_path):
    result = export(MODEL, "ncnn", tmp_path / "m1.ncnn.param", softmax=True)
    assert result.output.name == "out0" and result.output.kind == "probabilities"
    run, _ = ncnn_format.load(tmp_path / "m1.ncnn.param", threads=1)
    torch.testing.assert_close(run(torch.rand(2, 3, 32, 32)).sum(1), torch.ones(2))


def test_damaged_and_incomplete_ncnn_files_are_refused_in_one_line(copy, wavezoo):
    companion, sidecar = copy.with_name("m1.ncnn.bin"), copy.with_name("m1.ncnn.param.json")
    weights, text = companion.read_bytes(), sidecar.read_text()
    for name, damage, repair, message in (
        ("cut", lambda: companion.write_bytes(weights[:1000]), lambda: companion.write_bytes(weights), "hash mismatch"),
        ("missing", companion.unlink, lambda: companion.write_bytes(weights), "m1.ncnn.bin: file not found"),
        ("sidecar", sidecar.unlink, lambda: sidecar.write_text(text), "m1.ncnn.param.json, is not beside it"),
        ("json", lambda: sidecar.write_text("{"), lambda: sidecar.write_text(text), "m1.ncnn.param.json"),
        ("param", copy.unlink, lambda: None, "m1.ncnn.param: file not found"),
    ):
        damage()
        finished = wavezoo("eval", copy)
        assert (finished.code, len(finished.err.strip().splitlines())) == (2, 1), name
        assert message in finished.err, name
        repair()


def test_renamed_ncnn_files_run(copy, tmp_path):
    for suffix in ("param", "bin", "param.json"):
        (tmp_path / f"m1.ncnn.{suffix}").rename(tmp_path / f"digits.ncnn.{suffix}")
    assert evaluate(str(tmp_path / "digits.ncnn.param"), limit="10").images == 10


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (lambda images: images.sort(1)[0], "it has no layer for aten::sort"),
        (lambda images: torch.linalg.svdvals(images[:, 0]), "pnnx ended with code -"),
        (lambda images: images.view(torch.int32), "it cannot be traced: "),
    ],
)
def test_network_that_ncnn_does_not_support_is_refused(operation, reason):
    class Network(torch.nn.Module):
        def forward(self, images):
            return operation(images)

    metadata = ExportMetadata.model_construct()
    with pytest.raises(WavezooError, match=f"ncnn does not support this network: {reason}") as error:
        ncnn_format.convert(Network(), torch.rand(1, 3, 8, 8), metadata)
    assert error.value.exit_code == 1


def test_uint8_input_is_refused_before_the_export(wavezoo, monkeypatch):
    monkeypatch.delattr("wavenet_zoo.edge.export.load_model")
    finished = wavezoo("export", MODEL, "--to", "ncnn", "--input", "uint8")
    assert finished.code == 2
    hint = "remove --input; device code normalizes, see docs/guides/deploy.md"
    assert f"'ncnn' does not support uint8 input ({hint})" in finished.err


@pytest.mark.parametrize("missing", ["pnnx", "ncnn"])
def test_missing_extra_of_ncnn_is_named(missing, tmp_path, wavezoo, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    finished = wavezoo("export", MODEL, "--to", "ncnn")
    assert finished.code == 2 and f"{missing} is not installed" in finished.err
    assert "pip install pnnx ncnn" in finished.err
    assert not list(tmp_path.iterdir())


def test_export_to_ncnn_leaves_global_state_unchanged(unchanged_state, tmp_path):
    with unchanged_state():
        export(MODEL, "ncnn", tmp_path / "m1.ncnn.param")
