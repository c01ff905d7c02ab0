import subprocess
import sys

import pytest
import timm
import torch

from wavenet_zoo import export
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.formats import executorch

pytest.importorskip("executorch", reason="needs the extra executorch")
pytestmark = pytest.mark.long  # exports take seconds

MODEL = "waveletnet_cifar_m1"
OPEN = """
import sys
from pathlib import Path
from wavenet_zoo.deployment.exported import open_exported_file
open_exported_file(Path(sys.argv[1]), threads=3)  # resizes the pool
"""


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "m1.pte"
    return export(MODEL, "executorch", path, int8=True, calibrate="digits", calibration_images=100, max_drop=None,
                  input_dtype="uint8", softmax=True), path  # fmt: skip


def test_int8_executorch_file_agrees_with_the_network(int8_file):
    result, _ = int8_file
    assert result.precision == "int8" and result.int8.agreement > 95
    assert result.bytes < 80_000  # of 31,000 weights


def test_int8_executorch_file_has_a_dynamic_batch_size(int8_file):
    network, _, metadata = open_exported_file(int8_file[1])
    assert metadata.input.max_batch == 8
    pixels = torch.randint(256, (11, 3, 32, 32), dtype=torch.uint8)  # more than at once
    separate = torch.cat([network(image[None]) for image in pixels])
    assert torch.allclose(network(pixels), separate, atol=1e-4)


def test_int8_executorch_file_gives_probabilities_of_float(int8_file):
    network, _, _ = open_exported_file(int8_file[1])
    probabilities = network(torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)).exp()
    assert probabilities.sum(1).tolist() == pytest.approx([1] * 4)
    assert all(len(row.unique()) == 10 for row in probabilities)  # 8-bit logits have ties


def test_executorch_file_of_pixels_gives_the_softmax_of_the_logits(tmp_path):
    export(MODEL, "executorch", tmp_path / "m.pte", input_dtype="uint8", softmax=True)
    network, _, _ = open_exported_file(tmp_path / "m.pte")
    pixels = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        logits = timm.create_model(MODEL, pretrained=True).eval()(pixels / 127.5 - 1)
    assert torch.allclose(network(pixels).exp(), logits.softmax(1), atol=1e-5)


def test_open_executorch_files_run_after_the_pool_is_resized(int8_file, monkeypatch):
    from executorch.extension.pybindings import portable_lib

    def resize(threads, original=portable_lib._unsafe_reset_threadpool):
        assert not any(opened.program for opened in executorch._PROGRAMS)  # their methods point to the pool
        original(threads)

    monkeypatch.setattr(portable_lib, "_unsafe_reset_threadpool", resize)
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    before = portable_lib._threadpool_get_thread_count()
    first, _, _ = open_exported_file(int8_file[1], threads=before + 1)
    expected = first(images)
    other, _, _ = open_exported_file(int8_file[1], threads=before)
    assert portable_lib._threadpool_get_thread_count() == before
    assert torch.equal(first(images), expected) and torch.equal(other(images), expected)


def test_messages_of_the_runtime_are_hidden(int8_file):
    finished = subprocess.run([sys.executable, "-c", OPEN, str(int8_file[1])], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")  # it writes to file descriptor 2


def test_damaged_executorch_file_is_refused_in_one_line(int8_file, tmp_path):
    path = tmp_path / "m1.pte"
    path.write_bytes(int8_file[1].read_bytes()[:5000])
    arguments = [sys.executable, "-m", "wavenet_zoo", "eval", str(path), "--data", "digits"]
    finished = subprocess.run(arguments, capture_output=True, text=True)
    assert finished.returncode == 2 and "m1.pte: is not a valid ExecuTorch program" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
