"""The number of CPUs that a job may use, by affinity and by real files of control groups."""

import json
import os
import subprocess
import sys

import pytest

from wavenet_zoo.runtime import cpus


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 16 CPUs with the given files of control groups."""

    def describe(own, files):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.setattr(cpus, "OWN_CGROUPS", tmp_path / "own")
        monkeypatch.setattr(cpus, "CGROUPS", tmp_path / "cgroup")

    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)), raising=False)
    return describe


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/named/as/outside\n", {"cpu.max": "200000 100000\n"}, 2),
        ("4:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "800000\n", "cpu/d/cpu.cfs_period_us": "100000\n"}, 8),
        ("4:cpu:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1\n", "cpu/d/cpu.cfs_period_us": "100000\n"}, 16),
        ("4:memory:/\n0::/\n", {"cpu.max": "damaged"}, 16),
        ("", {}, 16),
    ],
)
def test_quota_of_control_groups_limits_the_cpus(machine, own, files, expected):
    machine(own, files)
    assert cpus.available_cpus() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_affinity_limits_the_cpus():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpus.available_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("quota", "variable", "expected"), [("400000", None, "4"), ("400000", "2", "2"), ("max", None, None)]
)
def test_threads_are_limited_only_below_a_quota(machine, monkeypatch, quota, variable, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", variable or "")  # restored after the test
    if variable is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    machine("0::/\n", {"cpu.max": f"{quota} 100000\n"})
    cpus.limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == expected


STATE = """
import json, os, sys
from wavenet_zoo.cli.main import cli
import wavenet_zoo.runtime.cpus as cpus
calls = []
libc = type("libc", (), {"mallopt": staticmethod(lambda *option: calls.append(option))})
cpus.ctypes = type("ctypes", (), {"CDLL": lambda name: libc})
try:
    cli(sys.argv[1:])
except SystemExit:
    pass
threads = None
if "--threads" in sys.argv:
    import torch
    threads = torch.get_num_threads()
names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
print(json.dumps([{n: os.environ.get(n) for n in names}, threads, calls]))
"""


def state_after(*arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in (*cpus.WAITING, *cpus.MALLOC)} | variables
    command = [sys.executable, "-c", STATE, *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_commands_that_train_or_evaluate_wait_passively_and_keep_memory():
    waiting, threads, calls = state_after("train", "nosuch", "--threads", "1")
    assert waiting == {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": cpus.SPINS} and threads == 1
    assert calls == [[cpus.M_MMAP_MAX, 0], [cpus.M_TRIM_THRESHOLD, 2**31 - 1]]
    assert state_after("eval", "nosuch", "--no-keep-memory")[2] == []


def test_settings_of_the_user_take_precedence():
    waiting, _, calls = state_after("train", "nosuch", OMP_WAIT_POLICY="active", MALLOC_TRIM_THRESHOLD_="1000000")
    assert waiting == {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": None} and calls == []


def test_commands_that_measure_keep_the_settings_of_the_machine():
    waiting, _, calls = state_after("bench", "nosuch")
    assert waiting == {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": None} and calls == []
