"""TFLite files, converted by LiteRT Torch, quantized by AI Edge Quantizer and run by LiteRT with XNNPACK."""

import importlib.metadata
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packaging.requirements import Requirement
from torch import nn

from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, missing_extra, quiet_libraries, quiet_native_code
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.runtime.files import read_regular_file

__all__ = ["convert", "load", "quantize", "scheme"]

MAX_BYTES = 2**31  # of a flatbuffer
SIGNATURE = "serving_default"
PINS = {"litert-torch": "torch", "xdsl": "typing-extensions"}  # packages with upper bounds, and what they bound
SEPARATE_ENVIRONMENT = "export to tflite in a separate environment, see docs/guides/deploy.md"
NORMALIZATION = "normalization_"


def convert(network: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> Files:
    """Convert a network to a TFLite file for one image.

    Args:
        network: The network, in evaluation mode: (B, C, H, W) of float32, or (B, H, W, C) of uint8.
        images: Example input, (B, H, W, C).
        metadata: Metadata of the file.

    Raises:
        WavezooError: If litert-torch is not installed, or does not convert the network.
    """
    return {".tflite": _tflite_bytes(network, images, metadata)}


def _tflite_bytes(network: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> bytes:
    try:
        with quiet_native_code():
            os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"  # on stdout; restored with the environment
            import litert_torch
            from ai_edge_litert.tools import flatbuffer_utils

            if metadata.input.dtype == "float32":
                network = litert_torch.to_channel_last_io(network, args=[0]).eval()
            content = litert_torch.convert(network, (images[:1],)).model_content()
            model = flatbuffer_utils.read_model_from_bytearray(content)
            _name_tensors(model, metadata, flatbuffer_utils.opcode_to_name)
            result = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    except ModuleNotFoundError as error:
        raise _clash() or missing_extra("tflite", error) from error
    except Exception as error:  # packages that do not match, and operations that are not supported, raise many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _clash() or WavezooError(
            f"LiteRT Torch does not convert this network: {reason}", "use another --to", INTERNAL_FAILURE
        ) from error
    # by JAX, which LiteRT Torch imports; workers of data loaders do not use it
    warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
    return result


def _name_tensors(model: Any, metadata: ExportMetadata, opcode_to_name: Any) -> None:
    """Name input and output as in the metadata, and other tensors by short names instead of paths of modules.

    Outputs of operations before the first convolution get the prefix :data:`NORMALIZATION`.
    """
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    for index, tensor in enumerate(graph.tensors):
        tensor.name = f"tensor_{index}".encode()
    for operator in graph.operators:
        if "CONV" in str(opcode_to_name(model, operator.opcodeIndex)):
            break
        for index in operator.outputs:
            graph.tensors[index].name = f"{NORMALIZATION}{index}".encode()
    for name, (entry,) in ((metadata.input.name, signature.inputs), (metadata.output.name, signature.outputs)):
        graph.tensors[entry.tensorIndex].name = entry.name = name.encode()


def load(path: Path, threads: int | None = None) -> tuple[Run, None]:
    """Load a TFLite file for one image; the returned function takes images one by one. It requires LiteRT only.

    Raises:
        WavezooError: If it is damaged, or ai-edge-litert is not installed.
    """
    try:
        with quiet_libraries():
            from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise WavezooError(f"{error.name or error} is not installed", "pip install ai-edge-litert") from error
    content = read_regular_file(path, MAX_BYTES)
    try:
        with quiet_native_code():
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    except Exception as error:  # mostly ValueError and RuntimeError
        raise invalid_file(path, "TFLite file", error) from error

    def run(images: torch.Tensor) -> torch.Tensor:
        outputs = []
        for batch in images.contiguous().split(1):
            interpreter.set_tensor(image["index"], batch.numpy())
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(output["index"]))
        return torch.from_numpy(np.concatenate(outputs))

    return run, None


def scheme(reduce_range: bool) -> dict[str, str]:
    """Describe the quantization of :func:`quantize`, which has no reduced range."""
    return {
        "method": "AI Edge Quantizer, static",
        "weights": "int8 per channel",
        "activations": "int8 per tensor, float32 logits",
    }


def quantize(
    network: nn.Module, calibration: torch.Tensor, metadata: ExportMetadata, reduce_range: bool = False
) -> Files:
    """Quantize a network by AI Edge Quantizer: int8 per channel, ranges of activations from the calibration images.

    Ranges are minimum and maximum of all images. The default of the quantizer, a moving average of those of each image,
    is narrower: quantized logits saturate. The normalization, the logits and the softmax stay in float32.

    Args:
        network: The network, in evaluation mode.
        calibration: Images, (N, H, W, C).
        metadata: Metadata of the file.
        reduce_range: Without effect: XNNPACK does not saturate.

    Raises:
        WavezooError: If litert-torch is not installed, or does not convert the network.
    """
    content = _tflite_bytes(network, calibration, metadata)
    images = [{metadata.input.name: image.numpy()} for image in calibration.contiguous().split(1)]
    with quiet_native_code():
        from ai_edge_quantizer.calibrator import Calibrator
        from ai_edge_quantizer.quantizer import Quantizer
        from ai_edge_quantizer.utils.qsv_utils import min_max_update

        recipe = _build_recipe()
        calibrator = Calibrator(content, num_threads=torch.get_num_threads(), qsv_update_func=min_max_update)
        calibrator.calibrate({SIGNATURE: images}, recipe)
        quantizer = Quantizer(content, recipe.get_quantization_recipe())
        quantized = quantizer.quantize(calibrator.get_model_qsvs(), enable_progress_report=False).quantized_model
    return {".tflite": bytes(quantized)}


def _build_recipe() -> Any:
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    recipe.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    # 8-bit logits have ties
    recipe.add_dynamic_config(".*", TFLOperationName.FULLY_CONNECTED, num_bits=8)
    for operation in (TFLOperationName.INPUT, TFLOperationName.OUTPUT, TFLOperationName.SOFTMAX):
        recipe.add_quantization_config(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    recipe.add_quantization_config(
        f"^{re.escape(NORMALIZATION)}", TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
    )
    return recipe


def _clash() -> WavezooError | None:
    """Return the error for a package that LiteRT Torch does not support; None if there is none."""
    for package, bounded in PINS.items():
        try:
            requirements = [Requirement(text) for text in importlib.metadata.requires(package) or ()]
            installed = importlib.metadata.version(bounded)
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in requirements:
            if requirement.name == bounded and not requirement.specifier.contains(installed, prereleases=True):
                return WavezooError(
                    f"{package} requires {requirement}, but {installed} is installed", SEPARATE_ENVIRONMENT
                )
    return None
