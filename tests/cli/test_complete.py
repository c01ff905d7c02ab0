"""Shell completion, as click's scripts ask for it."""

import json
import subprocess
import sys

import pytest
import timm
from click.shell_completion import ShellComplete

from wavenet_zoo.cli._complete import WAVELETNETS
from wavenet_zoo.cli.main import cli
from wavenet_zoo.runtime.manifest import SCHEMA, read_manifest


def complete(*words):
    *arguments, incomplete = words
    items = ShellComplete(cli, {}, "wavezoo", "_WAVEZOO_COMPLETE").get_completions(list(arguments), incomplete)
    return [item.value if item.type == "plain" else item.type for item in items]


def test_list_of_waveletnets_is_complete():
    assert sorted(WAVELETNETS) == sorted(timm.list_models("waveletnet*"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ex",), ["export"]),
        (("recipe", "sh"), ["show"]),
        (("eval", "waveletnet_x1."), ["waveletnet_x1.modern_tiny_in200", "waveletnet_x1.tiny_in200"]),
        (
            ("info", "waveletnet_cifar_m2"),
            ["waveletnet_cifar_m2", "waveletnet_cifar_m24", "waveletnet_cifar_m2.cifar10_jpeg"],
        ),
        (("bench", "waveletnet_x1", "mobilenetv2_14"), ["mobilenetv2_140"]),
        (("eval", "./wave"), ["file"]),
        (("eval", "waveletnet_x1", "--weights", "tiny"), ["tiny_in200"]),
        (("eval", "waveletnet_x1", "--weights", "runs/"), ["file"]),
        (("eval", "waveletnet_x1", "--data", "cifar"), ["cifar10", "cifar100"]),
        (("train", "tiny_imagenet/m"), ["tiny_imagenet/mobilenetv2_100"]),
        (("recipe", "check", "digits", "digi"), ["digits"]),
        (("weights", "download", "waveletnet_cifar_m1"), ["waveletnet_cifar_m1.digits"]),
        (("count", "waveletnet_x1", "--per"), ["--per-layer"]),
    ],
)
def test_completion_offers_names(words, expected):
    assert complete(*words) == expected


def test_weights_of_a_collection_are_completed_if_it_is_valid(monkeypatch, tmp_path):
    monkeypatch.setenv("WAVEZOO_CHECKPOINTS", str(tmp_path))
    entry = {
        **read_manifest()["waveletnet_cifar_m1.digits"],
        "name": "waveletnet_cifar_m1.mine",
        "hub": "org/name@main",
    }
    del entry["file"], entry["path"]
    manifest = {"schema": SCHEMA, "checkpoints": [entry]}
    for content, names in (
        (json.dumps(manifest), ["waveletnet_cifar_m1.mine"]),
        *((text, ["file"]) for text in ("{", "[]", '{"checkpoints": [{}]}', '{"checkpoints": 1}')),
    ):
        (tmp_path / "manifest.json").write_text(content)
        read_manifest.cache_clear()
        assert complete("weights", "verify", "waveletnet_cifar_m1.m") == names
    read_manifest.cache_clear()


def test_completion_of_own_models_does_not_import_torch():
    code = (
        "import sys; from click.shell_completion import ShellComplete; from wavenet_zoo.cli.main import cli\n"
        "print(len(ShellComplete(cli, {}, 'wavezoo', 'X').get_completions(['eval'], 'wave')), 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == f"{len(WAVELETNETS) + 4} False\n", result.stderr
