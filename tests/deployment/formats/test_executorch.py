import pytest
import timm
import torch

from wavenet_zoo import export
from wavenet_zoo.deployment.exported import open_exported_file

pytest.importorskip("executorch", reason="needs the extra executorch")
pytestmark = pytest.mark.long  # exports take seconds

MODEL = "waveletnet_cifar_m1"


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "m1.pte"
    result = export(MODEL, "executorch", path, int8=True, calibrate="digits", calibration_images=100, max_drop=None)
    return result, path


def test_int8_executorch_file_agrees_with_the_network(int8_file, wavezoo):
    result, path = int8_file
    assert result.precision == "int8" and result.int8.agreement > 95
    assert result.bytes < 80_000  # of 31,000 weights
    finished = wavezoo("eval", path, "--json").json
    assert finished["correct_top1"] / finished["data"]["images"] > 0.95


def test_int8_executorch_file_has_float_logits_and_a_dynamic_batch_size(int8_file):
    network, _, metadata = open_exported_file(int8_file[1])
    images = torch.randn(11, 3, 32, 32)  # more than at once
    with torch.inference_mode():
        logits = network(images)
        separate = torch.cat([network(image[None]) for image in images])
    assert metadata.input.max_batch == 8
    assert torch.allclose(logits, separate, atol=1e-4)
    assert len(logits.unique()) == logits.numel()  # 8-bit logits have ties


def test_int8_executorch_file_of_pixels_gives_probabilities(tmp_path):
    result = export(MODEL, "executorch", tmp_path / "m.pte", int8=True, calibrate="digits", calibration_images=100,
                    max_drop=None, input_dtype="uint8", softmax=True)  # fmt: skip
    assert result.int8.agreement > 95
    network, _, _ = open_exported_file(tmp_path / "m.pte")
    probabilities = network(torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)).exp()
    assert probabilities.sum(1).tolist() == pytest.approx([1, 1])


def test_executorch_file_of_pixels_gives_the_softmax_of_the_logits(tmp_path):
    export(MODEL, "executorch", tmp_path / "m.pte", input_dtype="uint8", softmax=True)
    network, _, _ = open_exported_file(tmp_path / "m.pte")
    pixels = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        logits = timm.create_model(MODEL, pretrained=True).eval()(pixels / 127.5 - 1)
    assert torch.allclose(network(pixels).exp(), logits.softmax(1), atol=1e-5)


def test_open_executorch_files_run_after_the_pool_is_resized(int8_file):
    from executorch.extension.pybindings import portable_lib

    images = torch.randn(2, 3, 32, 32)
    before = portable_lib._threadpool_get_thread_count()
    first, _, _ = open_exported_file(int8_file[1], threads=1)
    expected = first(images)
    for threads in (2, 3, 1, before):
        other, _, _ = open_exported_file(int8_file[1], threads)
        assert portable_lib._threadpool_get_thread_count() == threads
        assert torch.equal(first(images), expected) and torch.equal(other(images), expected)
