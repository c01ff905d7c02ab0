"""Core ML packages, ML programs in fp32. They are converted on Linux and macOS, and run on macOS."""

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, missing_extra, quiet_libraries
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["convert", "load"]


class _ImageInput(nn.Module):
    """A network of pixels (B, H, W, C) with the input that coremltools makes an image: (B, C, H, W)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(images.permute(0, 2, 3, 1))
        return output


def convert(network: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> Files:
    """Convert a network to an ML program of one image.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W); or (B, H, W, C) of uint8, which becomes an image input of RGB.
        metadata: Metadata of the file.

    Raises:
        WavezooError: If coremltools is not installed, or does not support the network.
    """
    ct = _coremltools()
    image = images[:1]
    name = metadata.input.name
    if metadata.input.dtype == "uint8":
        network, image = _ImageInput(network).eval(), image.permute(0, 3, 1, 2).float().contiguous()
        kind = ct.ImageType(name=name, shape=image.shape, color_layout=ct.colorlayout.RGB)
    else:
        kind = ct.TensorType(name=name, shape=image.shape, dtype=np.float32)
    progress_bars = contextlib.redirect_stderr(io.StringIO())
    try:
        with quiet_libraries(), progress_bars, torch.no_grad():
            package = ct.convert(
                _program(network, image),
                inputs=[kind],
                outputs=[ct.TensorType(name=metadata.output.name, dtype=np.float32)],
                convert_to="mlprogram",
                compute_precision=ct.precision.FLOAT32,
                minimum_deployment_target=ct.target.iOS15,
                skip_model_load=True,
            )
    except Exception as error:  # its converters raise many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(
            f"Core ML does not support this network: {reason}", "use another --form or --to", INTERNAL_FAILURE
        ) from error
    package.short_description = f"{metadata.model}, {metadata.num_classes} classes"
    package.input_description[name] = metadata.preprocessing_text
    package.user_defined_metadata[METADATA_KEY] = metadata.model_dump_json()
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "network.mlpackage")
        package.save(str(saved))
        (saved / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)  # not part of the package
        files = sorted(file for file in saved.rglob("*") if file.is_file())
        return {f".mlpackage/{file.relative_to(saved).as_posix()}": file.read_bytes() for file in files}


def _program(network: nn.Module, image: torch.Tensor) -> Any:
    """Export a network by torch.export without ``alias`` operators, which coremltools does not convert."""
    program = torch.export.export(network, (image,)).run_decompositions({})
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    return program


def load(path: Path, threads: int | None = None) -> tuple[Run, str]:
    """Load a Core ML package for the CPU, image by image. Untested: no macOS machine was available.

    Core ML chooses the number of threads.

    Raises:
        WavezooError: If the machine does not run macOS, the package is damaged, or coremltools is not installed.
    """
    if sys.platform != "darwin":
        raise WavezooError(f"{path}: Core ML files run on macOS only", "use the model, or export it --to onnx")
    ct = _coremltools()
    try:
        with quiet_libraries():
            package = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_ONLY)
        description = package.get_spec().description
        name, output = description.input[0].name, description.output[0].name
        is_image = description.input[0].type.WhichOneof("Type") == "imageType"
    except Exception as error:  # coremltools raises many types
        raise invalid_file(path, "Core ML package", error) from error

    def run(images: torch.Tensor) -> torch.Tensor:
        arrays = [Image.fromarray(array) for array in images.numpy()] if is_image else images[:, None].numpy()
        found = [package.predict({name: array})[output] for array in arrays]
        return torch.from_numpy(np.concatenate(found).astype(np.float32))

    return run, package.user_defined_metadata.get(METADATA_KEY, "")


def _coremltools() -> Any:
    try:
        with quiet_libraries():
            import coremltools
    except ImportError as error:
        raise missing_extra("coreml", error) from error
    return coremltools
