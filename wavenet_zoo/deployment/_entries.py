"""What takes part in a benchmark: a network in an engine, or an exported file in its own."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.complexity import count
from wavenet_zoo.deployment._candidates import PLAIN, Candidate
from wavenet_zoo.deployment.calibration import to_input
from wavenet_zoo.deployment.engines import build_runner, build_training_runner, engine_versions
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.floor import FLOOR, write_floor_file
from wavenet_zoo.deployment.fold import forms_of
from wavenet_zoo.deployment.formats import Format, format_of
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import quiet_libraries
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import expand

__all__ = ["Conditions", "Entry", "FileEntry", "NetworkEntry", "Opened", "open_file_entry"]


@dataclass(frozen=True)
class Conditions:
    """What the entries of a group have in common.

    Attributes:
        batch_size: Images per run.
        threads: Number of threads of each engine.
        input_size: (C, H, W) of an image.
        device: The device.
        precision: ``fp32`` or ``bf16``, of networks.
        train: Whether a training step is measured instead of inference.
    """

    batch_size: int
    threads: int
    input_size: tuple[int, int, int]
    device: torch.device
    precision: str
    train: bool


@dataclass(frozen=True)
class Opened:
    """An entry that is ready to run.

    Attributes:
        run: Runs it once.
        forms: Form of each folded unit by name.
    """

    run: Callable[[], object]
    forms: dict[str, str]


@dataclass(frozen=True)
class NetworkEntry:
    """A network in an engine."""

    candidate: Candidate
    engine: str

    @property
    def model(self) -> str:
        return self.candidate.model

    @property
    def form(self) -> str:
        return self.candidate.form

    @property
    def macs(self) -> int:
        return self.candidate.macs

    @property
    def folded(self) -> bool:
        return self.candidate.folded

    @property
    def description(self) -> str:
        return self.candidate.description

    def precision(self, conditions: Conditions) -> str:
        return conditions.precision

    def versions(self) -> dict[str, str]:
        """Return the version of the engine by its name."""
        return engine_versions((self.engine,))

    def import_engine(self) -> None:
        """Import the engine: torch is imported already."""

    def inputs(self, conditions: Conditions) -> torch.Tensor:
        """Return random images on the device, (B, C, H, W)."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(conditions.batch_size, *conditions.input_size, generator=generator)
        return images.to(conditions.device, _dtype(conditions))

    def open(self, images: torch.Tensor, conditions: Conditions) -> Opened:
        """Build the network in its engine. Call this in inference mode, except for training."""
        network = self.candidate.prepare().to(conditions.device, _dtype(conditions))
        forms, channels_last = forms_of(network), self.form != PLAIN
        if not conditions.train:
            return Opened(build_runner(self.engine, network, images, channels_last), forms)
        num_classes: Any = network.num_classes
        labels = torch.randint(num_classes, (len(images),), generator=torch.Generator().manual_seed(0))
        engine = "torch" if self.form == PLAIN else self.engine
        run = build_training_runner(
            engine, network, images, labels.to(conditions.device), channels_last, conditions.precision
        )
        return Opened(run, forms)


@dataclass(frozen=True)
class FileEntry:
    """An exported file in its own engine.

    Attributes:
        model: Its path, as given.
        path: Its path.
        metadata: Its metadata.
        form: Form in the result.
        macs: Multiply-accumulate operations per image of its network before folding.
    """

    model: str
    path: Path
    metadata: ExportMetadata
    form: str
    macs: int
    folded: bool = True

    @property
    def file_format(self) -> Format:
        found = format_of(self.path)
        assert found is not None
        return found

    @property
    def engine(self) -> str:
        return self.file_format.engine

    @property
    def description(self) -> str:
        return f"{self.model}, {self.metadata.precision}, {self.engine}"

    def precision(self, conditions: Conditions) -> str:
        return self.metadata.precision

    def versions(self) -> dict[str, str]:
        """Return the version of the engine by its name."""
        return {self.engine: version(self.file_format.runtime.partition(".")[0])}

    def import_engine(self) -> None:
        """Import the engine."""
        with quiet_libraries():
            importlib.import_module(self.file_format.runtime)

    def inputs(self, conditions: Conditions) -> torch.Tensor:
        """Return random images in the layout and dtype of the file's input."""
        generator = torch.Generator().manual_seed(0)
        shape = (conditions.batch_size, *conditions.input_size)
        pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        return to_input(pixels, self.metadata.preprocessing, self.metadata.input.dtype, self.metadata.input.layout)

    def open(self, images: torch.Tensor, conditions: Conditions) -> Opened:
        """Open the file in its engine."""
        run, _ = self.file_format.module.load(self.path, conditions.threads)
        return Opened(lambda: run(images), self.metadata.forms)

    def floor(self, folder: Path) -> "FileEntry":
        """Write this file without projections into a folder, and return it.

        Raises:
            WavezooError: If it is quantized, or its network has no projections.
        """
        network, path = write_floor_file(self.metadata, self.path, folder)
        macs = count(network, size=self.metadata.preprocessing.input_size[-1]).macs
        return FileEntry(self.model, path, self.metadata, FLOOR, macs)


Entry = NetworkEntry | FileEntry


def open_file_entry(model: str) -> FileEntry:
    """Open an exported file, and check that it runs.

    Raises:
        WavezooError: If it is missing or damaged, its runtime is not installed, or it does not run.
    """
    path = expand(model)
    exported, _, metadata = open_exported_file(path)
    size = metadata.preprocessing.input_size
    kwargs = {**metadata.model_kwargs, "num_classes": metadata.num_classes}
    entry = FileEntry(
        model, path, metadata, metadata.form, count(metadata.model, size=size[-1], model_kwargs=kwargs).macs
    )
    images = torch.zeros(1, *size, dtype=exported.input_dtype)
    try:
        with torch.inference_mode():
            exported(images)
    except WavezooError:
        raise
    except Exception as error:  # whatever the engine raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(f"{model}: does not run: {reason}", "export the model again") from error
    return entry


def _dtype(conditions: Conditions) -> torch.dtype:
    """Return the dtype of a network and its images. Training in bf16 uses autocast."""
    return torch.bfloat16 if conditions.precision == "bf16" and not conditions.train else torch.float32
