"""The number of CPUs that a job may use, by affinity and by real files of control groups."""

import os

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
