"""Every command under unusual conditions: closed stdout, no terminal, ASCII, read-only home, full disk.

Each condition has one real process that imports everything once and then forks for every command.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wavenet_zoo.errors import install_hint

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]

QUICK = ["--set", "schedule.epochs=1", "--set", "batch_size=20"]
COMMANDS = {
    "list": ["list"],
    "info": ["info", "waveletnet_x1"],
    "count": ["count", "waveletnet_x1", "--per-layer"],
    "recipe list": ["recipe", "list"],
    "recipe show": ["recipe", "show", "digits", "--resolved"],
    "recipe check": ["recipe", "check", "digits"],
    "recipe copy": ["recipe", "copy", "digits", "mine.yaml"],
    "train": ["train", "digits", "--data", "{data}", "--workers", "0", *QUICK],
    "train --dry-run": ["train", "digits", "--data", "{data}", "--workers", "0", "--dry-run", *QUICK],
    "eval": ["eval", "waveletnet_cifar_m1", "--per-class"],
    "eval --save-json": ["eval", "waveletnet_cifar_m1", "--save-json", "r.json"],
    "eval --append-csv": ["eval", "waveletnet_cifar_m1", "--append-csv", "r.csv"],
    "bench": ["bench", "waveletnet_cifar_m1", "--batch", "1", "--seconds", "0", "--form", "dense", "--plot", "b.png"],
    "export": ["export", "waveletnet_cifar_m1", "--to", "pt2"],
    "ablate": ["ablate", "--no-dfwt", "--recipe", "digits", "--data", "{data}", "--seeds", "1", *QUICK],
    "connectivity": ["connectivity", "waveletnet_cifar_m1", "--plot", "c.png"],
    "table": ["table", "3", "--plot", "t.png"],
    "weights list": ["weights", "list"],
    "weights verify": ["weights", "verify"],
    "weights download": ["weights", "download", "waveletnet_cifar_m1.digits", "--out", "w.safetensors"],
    "weights convert": ["weights", "convert", "waveletnet_cifar_m1", "{weights}", "converted.safetensors"],
    "publish --dry-run": ["publish", "waveletnet_cifar_m1", "--weights", "{weights}", "--repo", "me/m1", "--dry-run"],
}
WRITES = {"recipe copy", "train", "eval --save-json", "eval --append-csv", "bench", "export", "ablate", "connectivity",
          "table", "weights download", "weights convert"}  # fmt: skip

RUNNER = """
import json, os, sys
import timm, wavenet_zoo
from wavenet_zoo.cli.main import cli

def child(arguments, stdout, missing):
    for module in [module for module in sys.modules if missing and module.partition(".")[0] == missing]:
        del sys.modules[module]
    if missing:
        sys.modules[missing] = None  # importing it fails as if it were not there
    for number in (0, 1, 2):  # not the runner's own
        os.dup2({0: os.open(os.devnull, os.O_RDONLY), 1: stdout, 2: error}[number], number)
    cli(arguments, prog_name="wavezoo")

results, missing = {}, json.loads(sys.argv[4])
for name, arguments in json.loads(sys.argv[1]).items():
    out, error = (os.open(f"{sys.argv[2]}/{kind}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for kind in ("out", "err"))
    stdout = out
    if sys.argv[3] == "closed":
        read, stdout = os.pipe()
        os.close(read)
    pid = os.fork()
    if pid == 0:
        try:
            child(arguments, stdout, missing.get(name))
        except SystemExit as exit_:
            sys.stderr.flush()
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                os._exit(141)
            os._exit(exit_.code or 0)
        os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = [os.pread(handle, 10**7, 0).decode("utf-8", "surrogateescape") for handle in (out, error)]
    results[name] = [code, *texts]
    os.close(out), os.close(error)
print(json.dumps(results), file=sys.__stdout__)
"""


@pytest.fixture
def under(tmp_path, small_digits, request):
    """Run every command in a process with these variables, in this folder; ``{name: (code, out, err)}``."""

    def run(folder=None, stdout="file", commands=COMMANDS, missing=None, **variables):
        folder = folder or tmp_path / "work"
        folder.mkdir(exist_ok=True)
        (tmp_path / "streams").mkdir(exist_ok=True)
        weights = Path(request.config.rootpath, "checkpoints", "waveletnet_cifar_m1.digits.safetensors")
        filled = {
            name: [word.format(data=small_digits, weights=weights) for word in words]
            for name, words in commands.items()
        }
        arguments = [json.dumps(filled), str(tmp_path / "streams"), stdout, json.dumps(missing or {})]
        finished = subprocess.run(
            [sys.executable, "-c", RUNNER, *arguments],
            cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return run


def expected_code(name):
    return 2 if name.startswith("publish") else 0  # these weights have no record of an evaluation


def assert_well_behaved(results):
    assert results.keys() == COMMANDS.keys()
    for name, (_, out, err) in results.items():
        assert "Traceback" not in out + err and "Exception ignored" not in err, (name, err)
        assert "internal error" not in err, (name, err)


@pytest.mark.reliability(33)
def test_commands_work_in_ascii_without_terminal_and_colors(under):
    results = under(NO_COLOR="1", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0", COLUMNS="60", TERM="dumb")
    assert_well_behaved(results)
    for name, (code, out, err) in results.items():
        assert code == expected_code(name), (name, err)
        assert (out + err).isascii(), name
        assert not re.search(r"\x1b\[", out + err), name


@pytest.mark.reliability(33)
def test_closed_stdout_ends_commands_quietly_after_their_work(under, tmp_path):
    results = under(stdout="closed")
    assert_well_behaved(results)
    for name, (code, _, err) in results.items():
        assert code == (expected_code(name) or 141), (name, code, err)
    assert list((tmp_path / "work" / "runs").glob("digits*/model.safetensors"))


@pytest.mark.reliability(33)
def test_commands_work_with_a_read_only_home(under, read_only_folder):
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR")
    results = under(**dict.fromkeys(names, str(read_only_folder)))
    assert_well_behaved(results)
    for name, (code, _, err) in results.items():
        assert code == expected_code(name), (name, err)


@pytest.mark.reliability(6)
def test_full_disk_is_reported_in_one_line_without_leftovers(under, full_folder):
    before = sorted(full_folder.rglob("*"))
    results = under(folder=full_folder)
    assert_well_behaved(results)
    for name, (code, _, err) in results.items():
        if name in WRITES:
            assert code in (1, 2) and "No space left on device" in err.splitlines()[-1], (name, code, err)
        else:
            assert code == expected_code(name), (name, err)
    left = [path for path in full_folder.rglob("*") if path not in before and path.is_file()]
    assert not [path for path in left if path.suffix in (".tmp", ".png", ".pt2", ".safetensors", ".pt")]


@pytest.mark.reliability(33)
def test_training_continues_after_its_output_is_closed(process, small_digits, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-m", "wavenet_zoo", "train", "digits", "--data", small_digits, "--workers", "0", *QUICK],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    run.stdout.readline()
    run.stdout.close()
    assert run.wait(timeout=120) in (0, 141)
    assert list((tmp_path / "runs").glob("digits*/model.safetensors"))


MISSING = {  # a module, what needs it, and the extra that has it
    "sklearn": (["eval", "waveletnet_cifar_m1"], "digits"),
    "sklearn in training": (["train", "digits"], "digits"),
    "datasets": (["eval", "waveletnet_cifar_m1", "--data", "hfds/org/name"], "hf"),
    "tensorboard": (["train", "digits", "--tensorboard"], "tensorboard"),
    "onnxscript": (["export", "waveletnet_cifar_m1", "--to", "onnx"], "onnx"),
    "onnxruntime": (["bench", "waveletnet_cifar_m1", "--engine", "onnxruntime", "--form", "dense"], "onnx"),
    "openvino": (["bench", "waveletnet_cifar_m1", "--engine", "openvino", "--form", "dense"], "openvino"),
    "executorch": (["bench", "waveletnet_cifar_m1", "--engine", "executorch", "--form", "dense"], "executorch"),
    "executorch to export": (["export", "waveletnet_cifar_m1", "--to", "executorch"], "executorch"),
    "pytorchcv": (["count", "nasnet_a_mobile"], "peers"),
}


def test_missing_extra_is_named_with_its_install_command(under):
    commands = {name: command for name, (command, _) in MISSING.items()}
    results = under(commands=commands, missing={name: name.split()[0] for name in MISSING})
    for name, (code, _, err) in results.items():
        assert code == 2, (name, err)
        assert install_hint(MISSING[name][1]) in err.splitlines()[-1], name
