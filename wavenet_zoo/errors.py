"""The error that users see, exit codes, and suggestions for misspelled names."""

import contextlib
import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

OK = 0
INTERNAL_FAILURE = 1
BAD_INPUT = 2
BELOW_THRESHOLD = 3
DIVERGED = 4
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143

REDACTED = "hf_***"
EXTRAS = {  # optional dependencies in pyproject.toml; the hints work without a checkout of wavenet_zoo
    "digits": "scikit-learn",
    "hf": "datasets",
    "tensorboard": "tensorboard",
    "onnx": "onnx onnxscript onnxruntime",
    "openvino": "openvino onnx onnxscript onnxruntime",
    "openvino-int8": "openvino nncf",
    "executorch": "executorch",
    "tflite": "litert-torch",
    "ncnn": "pnnx ncnn",
    "coreml": "coremltools",
    "peers": "pytorchcv",
}
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
MIN_TOKEN = 6  # characters; a shorter value is more likely a word of the message


class WavezooError(Exception):
    """An error that the user can fix.

    Args:
        message: What is wrong, in one line, with the file, key or model.
        hint: What to do about it; empty if there is nothing to add.
        exit_code: Exit code of the command. Default: 2, for usage, configuration and data.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = BAD_INPUT):
        super().__init__(message)
        self.message = one_line(message)
        self.hint = one_line(hint)
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def one_line(text: str) -> str:
    """Return ``text`` in one line, without control characters, which names from untrusted files may contain, and
    without secrets, which servers may repeat.
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in redact(text))


def redact(text: str) -> str:
    """Replace tokens of the Hub, other bearer tokens and passwords in addresses."""
    for token in _tokens():
        text = text.replace(token, REDACTED)
    text = re.sub(r"\bhf_(?:(?:oauth|jwt)_[\w.-]+|[A-Za-z0-9]{20,})", REDACTED, text)
    text = re.sub(r"\b(bearer\s+)[\w.~+/=*-]{8,}", rf"\1{REDACTED}", text, flags=re.IGNORECASE)
    return re.sub(r"(://[^\s/:@]*:)[^\s/@]+@", r"\1***@", text)


def _tokens() -> Iterator[str]:
    """Return the tokens of this process: from the environment, and from the file of 'hf auth login'."""
    found = [os.environ.get(name, "") for name in TOKEN_VARIABLES]
    hub = sys.modules.get("huggingface_hub.constants")  # without it, no token was sent
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found.append(_read_token(hub.HF_TOKEN_PATH, Path(hub.HF_TOKEN_PATH).stat().st_mtime_ns) if hub else "")
    return (token.strip() for token in found if len(token.strip()) >= MIN_TOKEN)


@functools.lru_cache(maxsize=1)  # one_line is called for every name in a table
def _read_token(path: str, modified: int) -> str:
    return Path(path).read_text(encoding="utf-8")


def install_hint(extra: str) -> str:
    """Return the command that installs the packages of an extra."""
    return f"pip install {EXTRAS[extra]}"


def did_you_mean(name: str, valid: Iterable[str], otherwise: str = "") -> str:
    """Return ``did you mean 'a' or 'b'?`` with the valid names closest to ``name``; ``otherwise`` if none is close."""
    matches = get_close_matches(name, list(valid), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(repr(match) for match in matches)}?" if matches else otherwise
