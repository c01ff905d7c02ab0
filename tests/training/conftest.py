"""What tests of runs share."""

import json

import pytest
import torch


def _outcome(folder):
    """Everything that has to agree: loss and learning rate of every step, weights, EMA, optimizer, results."""
    checkpoint = torch.load(folder / "last.pt", weights_only=True)
    history = [
        {k: v for k, v in record.items() if "second" not in k} for record in checkpoint["position"].pop("history")
    ]
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    tensors = {
        "state_dict": checkpoint["state_dict"],
        "ema": checkpoint.get("state_dict_ema", {}),
        **{f"optimizer {key}": values for key, values in checkpoint["optimizer"]["state"].items()},
    }
    return tensors, (steps, history, checkpoint["optimizer"]["param_groups"], checkpoint["scaler"])


@pytest.fixture
def assert_same_outcome():
    """Assert that two runs, in their folders, came to the very same end."""
    return _assert_same_outcome


@pytest.fixture(scope="module")
def short_runs():
    """Make runs of a few steps fast: one thread, enough for small tensors, and no drawing of ``curve.png``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *args, **kwargs: None)
        yield
    torch.set_num_threads(threads)


def _assert_same_outcome(one, other):
    (tensors, values), (other_tensors, other_values) = _outcome(one), _outcome(other)
    assert values == other_values
    assert tensors.keys() == other_tensors.keys()
    for name, group in tensors.items():
        assert group.keys() == other_tensors[name].keys()
        for key, tensor in group.items():
            assert torch.equal(torch.as_tensor(tensor), torch.as_tensor(other_tensors[name][key])), (name, key)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
