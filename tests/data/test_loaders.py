import errno
import gc
import multiprocessing
import multiprocessing.synchronize
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from wavenet_zoo.data.loaders import (
    UNREADABLE,
    batches,
    evaluation_loader,
    persistent_workers,
    training_loader,
)
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.recipes import AugmentationSection

PREPROCESSING = Preprocessing((3, 16, 16), "bicubic", 1.0, "center", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def epoch_of(source, epoch, workers, seed=0):
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="pad", padding=2, hflip=0.5))
    loader = training_loader(source, transform, 32, seed, workers)
    loader.batch_sampler.start(epoch)
    batches = list(loader)
    return torch.cat([b[0] for b in batches]), torch.cat([b[2] for b in batches])


def tensor_of(item):
    (tensor, _, _), reason = item
    assert not reason
    return tensor


def indices_of(loader):
    return [batch[2].tolist() for batch in loader]


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (3, 1), (1, 4), (2, 2)])
def test_step_has_the_same_images_for_any_parts_and_processes(digit_folder, world_size, accumulation):
    source = open_data(digit_folder, "train")
    transform = training_transform(PREPROCESSING, AugmentationSection())
    whole = indices_of(training_loader(source, transform, 24, 0, 0))
    shared = [
        indices_of(
            training_loader(source, transform, 24, 0, 0, accumulation=accumulation, rank=rank, world_size=world_size)
        )
        for rank in range(world_size)
    ]
    for step, images in enumerate(whole):
        parts = [part for batches in shared for part in batches[step * accumulation : (step + 1) * accumulation]]
        assert len(parts) == world_size * accumulation and {len(part) for part in parts} == {24 // len(parts)}
        assert sorted(index for part in parts for index in part) == sorted(images)


def test_epoch_can_start_after_any_step(digit_folder):
    source = open_data(digit_folder, "train")
    loader = training_loader(source, training_transform(PREPROCESSING, AugmentationSection()), 24, 0, 0, accumulation=2)
    loader.batch_sampler.start(epoch=3)
    whole = indices_of(loader)
    assert len(whole) == 8
    for step in range(5):
        loader.batch_sampler.start(epoch=3, step=step)
        assert len(loader) == len(whole) - 2 * step
        assert indices_of(loader) == whole[2 * step :]


@pytest.mark.reliability(25)
@pytest.mark.parametrize("world_size", [1, 2, 3, 31])
def test_processes_evaluate_every_image_exactly_once(digit_folder, world_size):
    source = open_data(digit_folder, "val")
    seen = []
    for rank in range(world_size):
        loader = evaluation_loader(
            source, evaluation_transform(PREPROCESSING), range(10), 7, 0, rank=rank, world_size=world_size
        )
        seen += [index for batch in indices_of(loader) for index in batch]
    assert sorted(seen) == list(range(30))


@pytest.mark.parametrize(
    "augmentation",
    [
        {"auto_augment": "rand-m9-mstd0.5-inc1"},
        {"auto_augment": "augmix-m3-w3"},
        {"auto_augment": "original"},
        {"color_jitter": 0.4, "random_erasing": 0.9},
    ],
)
def test_augmentation_depends_only_on_seed_epoch_and_index(digit_folder, augmentation):
    source = open_data(digit_folder, "train")
    for crop in ("pad", "resized"):
        transform = training_transform(PREPROCESSING, AugmentationSection(crop=crop, hflip=0.5, **augmentation))
        dataset = training_loader(source, transform, 32, 0, 0).dataset
        first = tensor_of(dataset[1, 5])
        np.random.rand(), random.random(), torch.rand(1)
        assert torch.equal(tensor_of(dataset[1, 5]), first)
        assert any(not torch.equal(tensor_of(dataset[epoch, 5]), first) for epoch in (2, 3, 4))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_order_and_augmentation_do_not_depend_on_workers(digit_folder):
    source = open_data(digit_folder, "train")
    images, order = epoch_of(source, 1, workers=0)
    again, same_order = epoch_of(source, 1, workers=2)
    assert torch.equal(order, same_order) and torch.equal(images, again)
    assert not torch.equal(order, epoch_of(source, 2, workers=0)[1])
    assert not torch.equal(order, epoch_of(source, 1, workers=0, seed=1)[1])
    assert len(set(order.tolist())) == len(order) == 96  # 3 whole batches of 100 images


def test_augmentation_restores_the_global_rng(digit_folder):
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="pad", padding=2, hflip=0.5))
    loader = training_loader(open_data(digit_folder, "train"), transform, 32, 0, 0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    loader.dataset[1, 5]
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


@pytest.mark.reliability(11, 12)
def test_undecodable_image_is_labeled_unreadable(digit_folder):
    source = open_data(digit_folder, "val")
    source.files[4].write_bytes(b"")
    loader = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 30, 0)
    images, labels, indices = next(iter(loader))
    assert labels[4] == UNREADABLE and (labels != UNREADABLE).sum() == 29
    assert not images[4].any()
    assert indices.tolist() == list(range(30))


def test_data_sets_can_be_pickled_for_spawned_workers(digit_folder):
    for data in (digit_folder, "digits"):
        source = open_data(data, "val")
        dataset = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 30, 0).dataset
        copy = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(tensor_of(copy[7]), tensor_of(dataset[7])) and copy[7][0][1:] == dataset[7][0][1:]
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="resized", hflip=0.5))
    dataset = training_loader(open_data("digits", "train"), transform, 32, 0, 0).dataset
    assert torch.equal(tensor_of(pickle.loads(pickle.dumps(dataset))[1, 7]), tensor_of(dataset[1, 7]))


def thin_image(folder, size):
    """Return the source of a folder with one image of one class."""
    (folder / "cat").mkdir()
    Image.new("1", size).save(folder / "cat" / "thin.png")
    return open_data(folder, "val")


UNCROPPED, PAD = AugmentationSection(crop="none"), AugmentationSection(crop="pad", padding=2)
TRANSFORMS = {
    "center": lambda p: evaluation_transform(p),
    "not square": lambda p: evaluation_transform(replace(p, input_size=(3, 300, 200))),
    "border": lambda p: evaluation_transform(replace(p, crop_mode="border")),
    "squash": lambda p: evaluation_transform(replace(p, crop_mode="squash")),
    "training, none": lambda p: training_transform(p, UNCROPPED),
    "training, pad": lambda p: training_transform(p, PAD),
    "training, resized": lambda p: training_transform(p, AugmentationSection(crop="resized")),
}


@pytest.mark.reliability(15, 50)
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("size", [(12_000, 1), (1, 100_000)])
def test_thin_image_is_rejected_before_a_resize_that_keeps_its_shape(tmp_path, name, size):
    transform = TRANSFORMS[name](replace(PREPROCESSING, input_size=(3, 300, 300)))
    with batches(evaluation_loader(thin_image(tmp_path, size), transform, [0], 1, 0)) as iterator:
        _, labels, _ = next(iterator)
        if name in ("squash", "training, resized"):
            assert labels.tolist() == [0]
        else:
            assert labels.tolist() == [UNREADABLE]
            assert f"thin.png: too thin: {size[0]} x {size[1]} pixels become" in str(iterator.decode_error(0, "hint"))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_image_that_the_machine_fails_to_read_stops_the_loader(digit_folder, monkeypatch, workers, error):
    source = open_data(digit_folder, "val")
    good, failed = type(source).content, []

    def content(self, index):
        if index == 3 and not failed:  # once
            failed.append(index)
            raise error
        return good(self, index)

    monkeypatch.setattr(type(source), "content", content)
    loader = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 8, workers)
    with pytest.raises(WavezooError) as raised, batches(loader) as iterator:
        list(iterator)
    reason = "not enough memory" if isinstance(error, MemoryError) else "Input/output error"
    assert raised.value.message == f"{source.describe(3)}: cannot be read: {reason}"
    assert raised.value.exit_code == INTERNAL_FAILURE


@pytest.mark.reliability(54)
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("training", [False, True])
def test_loader_worker_that_is_killed_is_reported_in_one_line(digit_folder, kill, training):
    source, transform = open_data(digit_folder, "train"), evaluation_transform(PREPROCESSING)
    if training:
        loader = training_loader(source, transform, 2, 0, 1)
    else:
        loader = evaluation_loader(source, transform, range(10), 2, 1)
    context = persistent_workers(loader) if training else batches(loader)
    with pytest.raises(WavezooError) as error, context as iterator:
        iterator = iterator or iter(loader)
        next(iterator)
        os.kill(iterator._iterator._workers[0].pid, kill)
        list(iterator)
        time.sleep(30)  # interrupted by the signal of the worker's end
    assert error.value.exit_code == INTERNAL_FAILURE and error.value.hint
    assert error.value.message.startswith(("a loader worker ended", "a loader worker was killed"))


@pytest.mark.reliability(54)
@pytest.mark.timeout(60)
@pytest.mark.parametrize("training", [False, True])
def test_loader_worker_that_is_killed_while_it_holds_a_lock_is_reported(digit_folder, training):
    source, good = open_data(digit_folder, "train"), evaluation_transform(PREPROCESSING)

    def end(image):
        if get_worker_info().id == 0:
            for event in [thing for thing in gc.get_objects() if type(thing) is multiprocessing.synchronize.Event]:
                event._cond.acquire()
            os.kill(os.getpid(), signal.SIGKILL)
        return good(image)

    loader = training_loader(source, end, 2, 0, 2) if training else evaluation_loader(source, end, range(10), 2, 2)
    with pytest.raises(WavezooError) as error, persistent_workers(loader) if training else batches(loader) as iterator:
        list(iterator or loader)
    assert error.value.message.startswith(("a loader worker ended", "a loader worker was killed"))


LOADER_ERRORS = [  # of torch and the system, as they occurred
    (
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
        "a loader worker was killed",
        "--batch-size",
    ),
    (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "a loader worker ended: ", "--workers 0"),
    (
        RuntimeError(
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are "
            "out of shared memory. Please try to raise your shared memory limit."
        ),
        "no space in /dev/shm",
        "--shm-size",
    ),
    (
        RuntimeError(
            "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "
            '"x.py", line 1\nRuntimeError: unable to allocate shared memory(shm) for file </torch_1>: No space left on '
            "device (28)\n"
        ),
        "send their batches: unable to allocate shared memory(shm) for file </torch_1>",
        "--workers 0",
    ),
    (OSError(errno.ENOSPC, "No space left on device"), "no space in /dev/shm", "--ipc=host"),
    (OSError(errno.EMFILE, "Too many open files"), "too few file descriptors", "ulimit -n"),
    (RuntimeError("received 0 items of ancdata"), "too few file descriptors", "ulimit -n"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory", "--workers"),
    (MemoryError(), "out of memory", "--batch-size"),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "too few processes", "ulimit -u"),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "a loader worker ended", "--workers 0"),
    (EOFError(), "a loader worker ended", "--workers 0"),
]


@pytest.mark.parametrize(("error", "message", "hint"), LOADER_ERRORS)
def test_error_of_a_loader_is_one_line_with_advice(digit_folder, monkeypatch, error, message, hint):
    loader = evaluation_loader(open_data(digit_folder, "val"), evaluation_transform(PREPROCESSING), range(10), 8, 0)
    with batches(loader) as iterator:

        def fail():
            raise error

        monkeypatch.setattr(iterator, "_iterator", iter(fail, None))
        with pytest.raises(WavezooError) as raised:
            next(iterator)
    assert message in raised.value.message and hint in raised.value.hint
    assert "Traceback" not in str(raised.value) and raised.value.exit_code == INTERNAL_FAILURE


def test_other_errors_of_a_loader_are_not_changed(digit_folder, monkeypatch):
    loader = evaluation_loader(open_data(digit_folder, "val"), lambda image: 1 / 0, range(10), 8, 0)
    with pytest.raises(ZeroDivisionError), batches(loader) as iterator:
        next(iterator)
    with pytest.raises(RuntimeError, match="shapes"), batches(loader):
        raise RuntimeError("shapes do not match")


@pytest.mark.reliability(54)
@pytest.mark.skipif(sys.platform == "win32", reason="sockets of Windows have no path")
@pytest.mark.parametrize("length", [90, 80, 75])
def test_temporary_folder_in_which_workers_would_hang_is_reported(digit_folder, monkeypatch, length):
    folder = tempfile.mkdtemp(dir="/tmp")
    folder += "/" + "x" * (length - len(folder) - 1)
    Path(folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    with pytest.raises(WavezooError, match=r"temporary folder: AF_UNIX path too long .set TMPDIR to a folder") as error:
        evaluation_loader(open_data(digit_folder, "val"), evaluation_transform(PREPROCESSING), range(10), 8, 1)
    assert error.value.exit_code == INTERNAL_FAILURE and folder in error.value.message


@pytest.mark.reliability(54)
def test_temporary_folder_that_is_read_only_is_reported(digit_folder, monkeypatch, read_only_folder):
    monkeypatch.setattr(tempfile, "tempdir", str(read_only_folder))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    with pytest.raises(WavezooError, match="temporary folder: Read-only file system"):
        evaluation_loader(open_data(digit_folder, "val"), evaluation_transform(PREPROCESSING), range(10), 8, 1)


@pytest.mark.reliability(54)
@pytest.mark.parametrize("begun", [False, True])
def test_too_few_file_descriptors_are_reported_before_workers_start(digit_folder, begun):
    source, transform = open_data(digit_folder, "val"), evaluation_transform(PREPROCESSING)
    loader = evaluation_loader(source, transform, range(10), 8, 2) if begun else None
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # descriptors of earlier tests, which would become free below
    with Path(os.devnull).open() as file:
        free = file.fileno()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 20, limits[1]))
        with pytest.raises(WavezooError, match="too few file descriptors for the loader workers"):
            iter(loader) if begun else evaluation_loader(source, transform, range(10), 8, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


SMALL_SHM = """
import ctypes, sys
libc = ctypes.CDLL(None)
if libc.unshare(0x20000) or libc.mount(b"none", b"/", None, 0x44000, None):
    sys.exit(77)
if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=256k"):
    sys.exit(77)
from wavenet_zoo.cli.main import cli
cli(["eval", "waveletnet_cifar_m1", "--data", sys.argv[1], "--size", "128", "--workers", "1"])
"""


@pytest.mark.reliability(54)
@pytest.mark.long
def test_small_shared_memory_is_reported_in_one_line(small_digits):
    command = [sys.executable, "-c", SMALL_SHM, str(small_digits)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if run.returncode == 77:
        pytest.skip("needs to be allowed to mount a small disk")
    assert run.returncode == INTERNAL_FAILURE and "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith("error: no space in /dev/shm") and "--workers 0" in run.stderr
