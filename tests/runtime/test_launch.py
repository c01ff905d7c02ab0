import pytest

from wavenet_zoo import WavezooError
from wavenet_zoo.runtime.launch import Launch, read_launch, reporting_rank

TORCHRUN = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)

    def set_variables(values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_variables


def test_torchruns_variables_are_read(environment):
    environment(TORCHRUN)
    assert read_launch() == Launch(rank=1, world_size=2, local_rank=1, local_world_size=2)
    assert reporting_rank() == 1


@pytest.mark.reliability(25, 43)
@pytest.mark.parametrize(
    "values",
    [{}, {"RANK": "1"}, {"RANK": "x"}, {"RANK": "3", "WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}, {"LOCAL_RANK": "2"}],
    ids=str,
)
def test_variables_without_a_world_size_mean_a_single_process(environment, values):
    environment(values)
    assert read_launch() == Launch()
    assert reporting_rank() == 0


@pytest.mark.reliability(25, 43)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(("WORLD_SIZE", value, f"WORLD_SIZE is '{value}'") for value in ("abc", "0", "-1", "2.5", "9" * 30, "²")),
        ("RANK", "2", "RANK is '2' in the environment, expected 0 to 1"),
        ("RANK", "-1", "RANK is '-1'"),
        ("RANK", "", "WORLD_SIZE is 2 in the environment, but RANK is not set"),
        ("LOCAL_RANK", "", "LOCAL_RANK is not set"),
        ("MASTER_ADDR", "", "MASTER_ADDR is not set"),
        ("MASTER_PORT", "", "MASTER_PORT is not set"),
        ("MASTER_PORT", "70000", "MASTER_PORT is '70000'"),
        ("LOCAL_WORLD_SIZE", "0", "LOCAL_WORLD_SIZE is '0'"),
    ],
)
def test_invalid_variable_is_named(environment, name, value, message):
    environment({**TORCHRUN, name: value})
    with pytest.raises(WavezooError, match=message):
        read_launch()
    assert reporting_rank() == 0  # so that the error is printed


@pytest.mark.reliability(25, 43)
@pytest.mark.long
def test_stray_rank_does_not_mute_a_command(environment, wavezoo, small_digits, tmp_path):
    environment({"RANK": "1"})
    args = ("eval", "waveletnet_cifar_m1", "--data", small_digits, "--workers", 0, "--save-json", "r.json")
    finished = wavezoo(*args)
    assert finished.code == 0 and "top-1" in finished.out and (tmp_path / "r.json").is_file()
    environment({"WORLD_SIZE": "abc"})
    finished = wavezoo(*args)
    assert finished.code == 2
    assert finished.err.splitlines()[-1].startswith("error: WORLD_SIZE is 'abc' in the environment, expected 1 to ")
    assert wavezoo("list").code == 0  # which does not use several processes
