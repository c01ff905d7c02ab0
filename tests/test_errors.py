"""Errors: one line, without control characters and secrets."""

import logging
import re
from importlib import metadata

import huggingface_hub.constants
import pytest

from wavenet_zoo import WavezooError
from wavenet_zoo.errors import EXTRAS, install_hint, one_line, redact

TOKEN = "hf_" + "aB3" * 11


@pytest.mark.reliability(26, 56)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"401: {TOKEN}, invalid", "401: hf_***, invalid"),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer hf_***"),
        ("{'authorization': 'bearer eyJhbGci.eyJz-d_I6.x=='}", "{'authorization': 'bearer hf_***'}"),
        ("hf_oauth_eyJhbGci.eyJz-d_I6.x", "hf_***"),
        ("http://me:pass%20word@proxy:80/x cannot be reached", "http://me:***@proxy:80/x cannot be reached"),
        ("hf_hub_download of hf-hub:org/name@main", "hf_hub_download of hf-hub:org/name@main"),
        ("http://127.0.0.1:9/org/name@main", "http://127.0.0.1:9/org/name@main"),
        ("the bearer of news", "the bearer of news"),
    ],
)
def test_secrets_are_replaced_and_other_text_is_kept(text, expected):
    assert redact(text) == expected == one_line(text)
    assert str(WavezooError(text, text)) == f"{expected} ({expected})"


@pytest.mark.reliability(26, 56)
@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "file"])
def test_the_token_of_the_process_is_replaced(monkeypatch, tmp_path, variable):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert redact("not my-own-secret") == "not my-own-secret"
    if variable == "file":
        (tmp_path / "token").write_text("my-own-secret\n")
    else:
        monkeypatch.setenv(variable, "my-own-secret")
    assert redact("not my-own-secret") == "not hf_***"


def test_a_short_value_of_the_token_does_not_change_words(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a")
    assert redact("a model") == "a model"


@pytest.mark.reliability(26, 56)
def test_a_traceback_and_messages_contain_no_token(wavezoo, monkeypatch):
    def count(name):
        logging.getLogger("wavenet_zoo").warning("sent %s", TOKEN)
        raise RuntimeError(f"refused: {TOKEN}")

    monkeypatch.setattr("wavenet_zoo.zoo.catalog.count", count)
    finished = wavezoo("list", "--debug")
    assert finished.code == 1 and "Traceback" in finished.err and TOKEN not in finished.err
    assert finished.err.count("refused: hf_***") == 2 and "sent hf_***" in finished.err


def test_install_hints_name_the_packages_of_every_extra():
    extras = {name: set() for name in EXTRAS}
    for requirement in metadata.requires("wavenet_zoo"):
        package, _, marker = requirement.partition(";")
        extra = marker.partition("==")[2].strip(" \"'")
        if extra in extras and not package.startswith("wavenet"):
            extras[extra].add(re.match(r"[\w-]+", package)[0])
    assert {name: set(install_hint(name).split()) - {"pip", "install"} for name in EXTRAS} == extras
