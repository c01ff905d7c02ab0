import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from wavenet_zoo.data.digits import open_digits
from wavenet_zoo.data.folders import open_folder
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform
from wavenet_zoo.deployment.calibration import (
    check_calibration,
    load_pixels,
    open_calibration,
    portable_name,
    to_input,
)
from wavenet_zoo.errors import WavezooError

PREPROCESSING = Preprocessing((3, 8, 8), "bilinear", 1.0, "center", (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


@pytest.fixture
def folder(tmp_path):
    """12 training and 4 validation images of two classes, all different."""
    values = iter(range(100))
    for split, count in (("train", 6), ("val", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (9, 8), (next(values), i, 5)).save(tmp_path / "data" / split / name / f"{i}.png")
    return tmp_path / "data"


def paths(source):
    return [source.relative_path(i) for i in range(len(source.targets))]


def test_images_are_taken_evenly_from_all_classes(folder):
    calibration = open_calibration(folder, 4)
    assert sorted(calibration.source.targets) == sorted(calibration.held_out.targets) == [0, 0, 1, 1]
    assert not set(paths(calibration.source)) & set(paths(calibration.held_out))
    assert calibration.name == "data"


def test_small_data_is_divided_in_half(folder):
    calibration = open_calibration(folder, 256)
    assert len(calibration.source.targets) == len(calibration.held_out.targets) == 6


def test_folder_of_unlabelled_images_is_accepted(folder):
    calibration = open_calibration(folder / "train" / "cat", 2)
    assert len(calibration.source.targets) == len(calibration.held_out.targets) == 2
    assert calibration.name == "cat"


def test_images_of_the_evaluation_are_refused(folder):
    evaluated = open_folder(folder, "val")
    check_calibration(open_calibration(folder, 4), evaluated)
    shutil.copy(folder / "val" / "dog" / "1.png", folder / "train" / "cat" / "2.png")  # another name and class
    with pytest.raises(WavezooError, match=r"1 calibration images are among the evaluation images, .*cat/2\.png") as e:
        check_calibration(open_calibration(folder, 256), evaluated)
    assert "--calibrate DIR" in e.value.hint


@pytest.mark.parametrize("count", [2, 256])
def test_images_that_a_fraction_evaluates_are_not_chosen(folder, count):
    calibration, evaluated = open_calibration(folder, count, "0.3"), open_data(folder, "0.3")
    check_calibration(calibration, evaluated)
    chosen = [*paths(calibration.source), *paths(calibration.held_out)]
    assert len(chosen) == len(set(chosen)) == min(2 * count, 8) and len(evaluated.targets) == 4
    assert not set(chosen) & set(paths(evaluated))
    with pytest.raises(WavezooError, match="calibration images are among the evaluation images"):
        check_calibration(open_calibration(folder, 256), evaluated)


def test_evaluation_split_as_calibration_data_is_refused(folder):
    with pytest.raises(WavezooError, match="calibration images are among the evaluation images"):
        check_calibration(open_calibration(folder / "val", 256), open_folder(folder, "val"))


@pytest.mark.parametrize(("count", "message"), [(0, "--calibration-images 0: must be at least 1")])
def test_invalid_number_of_images_is_refused(folder, count, message):
    with pytest.raises(WavezooError, match=message):
        open_calibration(folder, count)


def test_single_image_is_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    with pytest.raises(WavezooError, match="calibration requires at least 2 images"):
        open_calibration(tmp_path, 1)


def test_name_of_data_has_no_folders_of_this_machine(tmp_path):
    assert portable_name("digits") == "digits"
    assert portable_name(tmp_path / "birds" / "train") == "birds"
    assert portable_name(str(tmp_path / "birds")) == "birds"


def test_pixels_become_the_input_of_the_file(folder):
    source = open_calibration(folder, 4).source
    pixels = load_pixels(source, PREPROCESSING)
    assert pixels.dtype == torch.uint8 and pixels.shape == (4, 3, 8, 8)
    expected = torch.stack([evaluation_transform(PREPROCESSING)(source.load(i)) for i in range(4)])
    assert torch.equal(to_input(pixels, PREPROCESSING, "float32", "NCHW"), expected)
    channels_last = to_input(pixels, PREPROCESSING, "uint8", "NHWC")
    assert channels_last.is_contiguous() and torch.equal(channels_last.permute(0, 3, 1, 2), pixels)


def test_digits_have_enough_training_images():
    calibration = open_calibration("digits", 256)
    assert np.bincount(calibration.source.targets).min() >= 20
    check_calibration(calibration, open_digits("val"))
