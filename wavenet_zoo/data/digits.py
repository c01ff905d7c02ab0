"""The 1,797 handwritten digits that scikit-learn ships: a data set that needs no download."""

from wavenet_zoo.data.sources import ArrayImages
from wavenet_zoo.errors import WavezooError, install_hint

__all__ = ["open_digits"]

TEST_EVERY = 5  # the test split is images 0, 5, 10, ...: 360; the train split is the other 1,437


def open_digits(split: str) -> ArrayImages:
    """Open the digits: 8 x 8 pixels in 17 gray levels, scaled to 8 bits.

    The split is fixed: every fifth image, starting with the first, is a test image. Both splits contain digits of the
    same writers, which makes the test split easy.

    Args:
        split: ``train`` or ``test``; ``val`` is ``test``.

    Raises:
        WavezooError: If the split does not exist, or scikit-learn is not installed.
    """
    if split not in ("train", "test", "val"):
        raise WavezooError(f"digits: no split '{split}'", "available splits: train, test")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise WavezooError("digits: requires scikit-learn", install_hint("digits")) from error
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
