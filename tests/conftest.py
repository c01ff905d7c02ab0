"""What the tests share: the command line in this process and in real ones, real digits in files, the real images."""

import atexit
import contextlib
import ctypes
import importlib.util
import io
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the threads of two test processes would compete for the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.pop("COLUMNS", None)  # test processes set it; tables in a pipe then have the width of a terminal
os.environ["WAVEZOO_CACHE"] = tempfile.mkdtemp(prefix="wavezoo-tests-")  # not the user's cache, also in child processes
atexit.register(shutil.rmtree, os.environ["WAVEZOO_CACHE"], ignore_errors=True)

REPOSITORY = Path(__file__).resolve().parent.parent
LIST_OF_FAULTS = pytest.StashKey[tuple[Path, str]]()
SHARED_DATA = Path(os.environ.get("WAVEZOO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


# the same examples every time: what fails here fails for everybody
hypothesis.settings.register_profile("same", max_examples=60, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("same")


def _load_reliability() -> Any:
    spec = importlib.util.spec_from_file_location("reliability", Path(__file__).with_name("reliability.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_addoption(parser):
    parser.addoption("--write-reliability", action="store_true", help="write docs/reliability.md from the tests")


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(session, config, items):
    if config.option.file_or_dir or config.option.keyword:
        return  # only some of the tests
    reliability = _load_reliability()
    config.stash[LIST_OF_FAULTS] = (reliability.DOCUMENT, reliability.document(items))
    if config.option.write_reliability:
        reliability.DOCUMENT.write_text(reliability.document(items), encoding="utf-8")


@pytest.fixture
def list_of_faults(request) -> tuple[Path, str]:
    """The document of faults, and what it has to say by the tests that there are."""
    if LIST_OF_FAULTS not in request.config.stash:
        pytest.skip("only a run of all tests knows which there are")
    return request.config.stash[LIST_OF_FAULTS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Escape what test processes cannot send to the main one: names in captured output that are not UTF-8."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


@dataclass
class Finished:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def wavezoo(monkeypatch, tmp_path):
    """Run ``wavezoo`` in this process: fast, since torch is imported already."""
    monkeypatch.chdir(tmp_path)

    def run(*args: Any) -> Finished:
        from wavenet_zoo.cli.main import cli

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exit_:
            cli([str(arg) for arg in args], prog_name="wavezoo")
        return Finished(exit_.value.code, out.getvalue(), err.getvalue())

    return run


LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1


def _prepare_child() -> None:
    # a shell that runs the tests in the background has SIGINT ignored, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if LIBC is not None:  # end with the tests, also if these are killed before they can clean up
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@pytest.fixture
def process(tmp_path):
    """Start a real process in an empty folder and in a group of its own: ``process("-m", "wavenet_zoo", "list")``."""
    started = []

    def start(*args: Any) -> subprocess.Popen:
        run = subprocess.Popen(
            [sys.executable, *(str(arg) for arg in args)],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_prepare_child,
        )
        started.append(run)
        return run

    yield start
    for run in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def write_digits(folder: Path, split: str, per_class: int) -> Path:
    """Write real handwritten digits as PNG files, one folder per class."""
    from wavenet_zoo.data.digits import open_digits

    source = open_digits(split)
    written = dict.fromkeys(source.classes, 0)
    for index, target in enumerate(source.targets):
        name = source.classes[target]
        if written[name] < per_class:
            (folder / name).mkdir(parents=True, exist_ok=True)
            source.load(index).save(folder / name / f"{written[name]}.png")
            written[name] += 1
    return folder


@pytest.fixture
def digit_folder(tmp_path) -> Path:
    """An image folder with train/ (10 of each digit) and val/ (3 of each digit)."""
    write_digits(tmp_path / "digit-images" / "train", "train", 10)
    write_digits(tmp_path / "digit-images" / "val", "test", 3)
    return tmp_path / "digit-images"


@pytest.fixture(scope="session")
def small_digits(tmp_path_factory) -> Path:
    """The same folder, once for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("small") / "small-digits"
    write_digits(folder / "train", "train", 10)
    write_digits(folder / "val", "test", 3)
    return folder


@pytest.fixture(scope="session")
def imagenet_sample(tmp_path_factory) -> Path:
    """100 real ImageNet images of 100 classes, in ImageNet's own folder form."""
    archive = SHARED_DATA / "imagenet-sample.tar.xz"
    if not archive.is_file():
        pytest.skip(f"needs imagenet-sample.tar.xz in {SHARED_DATA} (set WAVEZOO_TEST_DATA)")
    folder = tmp_path_factory.mktemp("imagenet")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "imagenet-sample"


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MB; ``disk(read_only=True)`` is one that holds a file and may not be written to."""
    mounted = []

    def mount(read_only=False):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs to be allowed to mount a small disk")
        mounted.append(folder)
        if read_only:
            (folder / "there.csv").write_text("model\na\n")
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def fill():
    """Leave less than a page of a disk; the file that takes the space is returned."""

    def fill(folder: Path) -> Path:
        with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        return folder / "filler"

    return fill


@pytest.fixture
def full_folder(disk, fill) -> Path:
    """A folder on a disk without space."""
    folder = disk()
    fill(folder)
    return folder


@pytest.fixture
def read_only_folder(disk) -> Path:
    """A folder on a disk that may not be written to."""
    return disk(read_only=True)


def _global_state() -> dict[str, Any]:
    import numpy as np
    import torch

    generator, keys, *rest = np.random.get_state()
    loggers = [name for name in logging.root.manager.loggerDict if not name.startswith("wavenet_zoo")]
    return {
        "python rng": random.getstate(),
        "numpy rng": (generator, keys.tobytes(), *rest),
        "torch rng": torch.get_rng_state().numpy().tobytes(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "dynamo config": torch._dynamo.config.get_config_copy(),
        "environment": dict(os.environ),
        "working directory": Path.cwd(),
        "signal handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "disabled logging": logging.root.manager.disable,
        "loggers": {
            name: (logger.level, logger.disabled, logger.propagate, list(logger.handlers))
            for name, logger in ((name, logging.getLogger(name)) for name in loggers)
        },
        "warning filters": list(warnings.filters),
    }


@pytest.fixture
def unchanged_state():
    """A context that asserts that its body does not change the global state of the process."""
    import sklearn.datasets  # noqa: F401  some libraries set variables and filters when they are first imported
    import torch._dynamo  # noqa: F401

    @contextlib.contextmanager
    def check():
        before = _global_state()
        yield
        after = _global_state()
        after["loggers"] = {name: after["loggers"].get(name) for name in before["loggers"]}  # imports add loggers
        assert not [key for key in before if before[key] != after[key]]

    return check


@pytest.fixture
def assert_legible(monkeypatch):
    """A function that asserts that the texts of a figure neither overlap nor leave it."""
    from matplotlib.text import Text

    from wavenet_zoo.runtime.figures import figure_style

    drawn = {}
    draw = Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text().strip():
            drawn[self] = self.get_window_extent(renderer).padded(-1)
        draw(self, renderer)

    def check(figure):
        with figure_style(), monkeypatch.context() as patch:
            patch.setattr(Text, "draw", record)
            drawn.clear()
            figure.canvas.draw()
        assert len(drawn) > 3
        page = figure.bbox.padded(2)
        for place, (text, box) in enumerate(drawn.items()):
            assert page.containsx(box.x0) and page.containsx(box.x1), text
            assert page.containsy(box.y0) and page.containsy(box.y1), text
            assert not [other for other, taken in list(drawn.items())[:place] if box.overlaps(taken)], text

    return check
