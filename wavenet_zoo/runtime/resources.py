"""Where the package is installed, and the folders that it ships."""

from pathlib import Path

__all__ = ["CHECKOUT", "shipped_folder"]

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent  # the repository, if the package runs from a checkout


def shipped_folder(name: str) -> Path | None:
    """Return a folder of the repository, ``recipes`` for example: in the installed package, or in the checkout."""
    return next((f for f in (PACKAGE / "_shipped" / name, CHECKOUT / name) if f.is_dir()), None)
