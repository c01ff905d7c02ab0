"""The 1,797 handwritten digits inside scikit-learn's wheel: the data set that needs no download."""

from wavenet_zoo.data.sources import ArrayImages
from wavenet_zoo.errors import WavezooError

__all__ = ["open_digits"]

TEST_EVERY = 5  # images 0, 5, 10, ... are the test split: 360; the other 1,437 are the train split


def open_digits(split: str) -> ArrayImages:
    """Open the digits, 8 x 8 pixels of 17 shades of grey, scaled to 8 bits.

    The split is by index and fixed: every fifth image, from the first on, is for testing. Digits of one writer stand in
    both parts, so this is an easy split.

    Raises:
        WavezooError: If scikit-learn is not installed, or there is no such split.
    """
    if split not in ("train", "test", "val"):
        raise WavezooError(f"digits: no split '{split}'", "it has train and test")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise WavezooError("digits: needs scikit-learn", "pip install 'wavenet_zoo[digits]'") from error
    digits = load_digits()
    images = (digits.images * (255 / 16)).round().astype("uint8")
    chosen = [i for i in range(len(images)) if (i % TEST_EVERY == 0) == (split != "train")]
    return ArrayImages(
        name="digits",
        split="train" if split == "train" else "test",
        classes=[str(name) for name in digits.target_names],
        images=images[chosen],
        targets=[int(digits.target[i]) for i in chosen],
    )
