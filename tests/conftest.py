"""What the tests share: the command line in this process and in real ones, real digits in files, the real images."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("WAVEZOO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


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
            # a shell that runs the tests in the background has SIGINT ignored, and children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
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
