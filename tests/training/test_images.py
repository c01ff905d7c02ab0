import shutil

import pytest
from PIL import Image

from wavenet_zoo import train
from wavenet_zoo.errors import WavezooError

ONE_EPOCH = ["schedule.epochs=1"]


@pytest.mark.reliability(35)
def test_some_shared_images_are_counted_in_a_warning(digit_folder, tmp_path, caplog):
    shutil.copy(digit_folder / "train" / "3" / "1.png", digit_folder / "val" / "3" / "copy.png")
    train("digits", digit_folder, tmp_path / "run", ONE_EPOCH, workers=0)
    assert "1 of 31 validation images are also training images" in caplog.text


@pytest.mark.reliability(35)
def test_resume_with_another_image_of_equal_size_is_refused(digit_folder, tmp_path):
    train("digits", digit_folder, tmp_path / "run", ONE_EPOCH, workers=0)
    (tmp_path / "run" / "result.json").unlink()  # as if stopped
    image = digit_folder / "train" / "3" / "1.png"
    size = image.stat().st_size
    Image.new("L", (8, 8), 7).save(image, "PNG")
    image.write_bytes(image.read_bytes().ljust(size, b"\0"))
    assert image.stat().st_size == size
    with pytest.raises(WavezooError, match="1 of 100 training images have changed since the run started"):
        train("digits", digit_folder, tmp_path / "run", ONE_EPOCH, workers=0)


def test_runs_without_image_hashes_resume(digit_folder, tmp_path):
    first = train("digits", digit_folder, tmp_path / "run", ONE_EPOCH, workers=0)
    for name in ("result.json", "images.safetensors"):
        (tmp_path / "run" / name).unlink()
    assert train("digits", digit_folder, tmp_path / "run", ONE_EPOCH, workers=0).weights_sha256 == first.weights_sha256
