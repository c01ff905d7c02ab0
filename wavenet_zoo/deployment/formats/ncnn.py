"""ncnn files, converted by pnnx: the graph in ``.ncnn.param``, the weights in ``.ncnn.bin``."""

import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, missing_extra, quiet_libraries
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError

__all__ = ["INPUT", "OUTPUT", "convert", "load"]

INPUT, OUTPUT = "in0", "out0"  # the names that pnnx gives
PARAM, BIN = ".ncnn.param", ".ncnn.bin"


def convert(network: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> Files:
    """Convert a network to an ncnn graph of one image and fp32 weights.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W).
        metadata: Ignored: an ncnn file has no place for it.

    Raises:
        WavezooError: If pnnx is not installed, or does not support the network.
    """
    try:
        import pnnx
    except ImportError as error:
        raise missing_extra("ncnn", error) from error
    with tempfile.TemporaryDirectory() as folder:
        image = images[:1]
        try:
            with quiet_libraries(), torch.no_grad():
                torch.jit.trace(network, image, check_trace=False).save(str(Path(folder, "network.pt")))
        except Exception as error:  # whatever its layers raise
            raise _unsupported(f"it cannot be traced: {error}") from error
        shape = ",".join(map(str, image.shape))
        # the program, not pnnx.convert, which ignores its exit code and runs the Python code that it wrote
        finished = subprocess.run(
            [pnnx.EXEC_PATH, "network.pt", f"inputshape=[{shape}]f32", "fp16=0"],
            cwd=folder, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        outputs = {suffix: Path(folder, f"network{suffix}") for suffix in (PARAM, BIN)}
        if finished.returncode or not all(file.exists() for file in outputs.values()):
            lines = finished.stderr.strip().splitlines() or [""]
            raise _unsupported(f"pnnx ended with code {finished.returncode}: {lines[-1]}")
        files = {suffix: file.read_bytes() for suffix, file in outputs.items()}
    # layers of ncnn have simple names; pnnx keeps those of an operator that it cannot convert, aten::roll for example
    layers = [line.split(maxsplit=1)[0] for line in files[PARAM].decode().splitlines()[2:]]
    foreign = sorted({layer for layer in layers if not re.fullmatch(r"\w+", layer)})
    if foreign:
        raise _unsupported(f"it has no layer for {', '.join(foreign)}")
    return files


def load(path: Path, threads: int | None = None) -> tuple[Run, None]:
    """Load an ncnn graph, computed in fp32, image by image; its default is torch's number of threads.

    Raises:
        WavezooError: If it is damaged, or ncnn is not installed.
    """
    try:
        import ncnn
    except ImportError as error:
        raise missing_extra("ncnn", error) from error
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.num_threads = threads or torch.get_num_threads()  # its own default ignores OMP_NUM_THREADS
    weights = path.with_name(path.name.removesuffix(PARAM) + BIN)
    if net.load_param(str(path)) or net.load_model(str(weights)):
        raise invalid_file(path, "ncnn file", ValueError("ncnn cannot load it"))

    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.stack([_run_one(image) for image in images.numpy()]))

    def _run_one(image: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        code = extractor.input(INPUT, ncnn.Mat(image))
        if code == 0:
            code, output = extractor.extract(OUTPUT)
        if code:
            raise RuntimeError(f"ncnn returned code {code}")
        return np.array(output, np.float32)

    return run, None


def _unsupported(reason: str) -> WavezooError:
    return WavezooError(f"ncnn does not support this network: {reason}", "use another --form or --to", INTERNAL_FAILURE)
