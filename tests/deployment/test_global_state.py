"""Functions of deployment leave the global state of the process unchanged."""

import contextlib
import logging
import os
import random
import warnings

import numpy
import pytest
import timm
import torch
from torch._dynamo.utils import counters

from wavenet_zoo import bench, export
from wavenet_zoo.deployment.choose import resolve_forms
from wavenet_zoo.deployment.fold import UNIT_FORMS, fold

MODEL = "waveletnet_cifar_m1"


def loggers():
    """Return the state of the loggers of other libraries."""
    found = {name: logging.getLogger(name) for name in list(logging.root.manager.loggerDict)}
    found["root"] = logging.root
    return {
        name: (logger.level, logger.disabled, logger.propagate)
        for name, logger in found.items()
        if not name.startswith("wavenet_zoo")
    }


def global_state():
    return {
        "torch RNG": torch.get_rng_state().numpy().tobytes(),
        "numpy RNG": numpy.random.get_state()[1].tobytes(),
        "random RNG": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "dynamo config": torch._dynamo.config.get_config_copy(),
        "disabled logging": logging.root.manager.disable,
        "warnings filters": list(warnings.filters),
        "environment": dict(os.environ),
    }


@pytest.fixture
def unchanged():
    """Check on exit that the global state is the same as on entry."""

    @contextlib.contextmanager
    def check():
        before, loggers_before = global_state(), loggers()
        yield
        after, loggers_after = global_state(), loggers()
        for name, value in before.items():
            assert after[name] == value, name
        assert {name: loggers_after[name] for name in loggers_before} == loggers_before

    return check


def test_bench_with_auto_forms_leaves_global_state_unchanged(unchanged):
    with unchanged():
        bench([MODEL], batches=[2], forms=["auto", "factored"], seconds=0)


def test_bench_of_a_training_step_leaves_global_state_unchanged(unchanged):
    with unchanged():  # dropout draws random numbers
        bench([MODEL], batches=[2], train=True, seconds=0, model_kwargs={"drop_rate": 0.5, "drop_path_rate": 0.5})


@pytest.mark.long
@pytest.mark.parametrize("train", [False, True])
def test_bench_in_compile_leaves_global_state_unchanged(train, unchanged):
    with unchanged():
        bench([MODEL], batches=[2], engines=["compile"], forms=["dense"], train=train, seconds=0)


@pytest.mark.long
def test_each_network_is_compiled_separately_whatever_was_compiled_before():
    for _ in range(2):
        counters.clear()
        with torch._dynamo.config.patch(recompile_limit=1):
            bench([MODEL], batches=[2], engines=["compile"], forms=["dense", "factored"], seconds=0)
        assert counters["stats"]["unique_graphs"] == 3  # with the baseline


@pytest.mark.long
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "executorch"])
def test_bench_in_other_engines_leaves_global_state_unchanged(engine, unchanged):
    pytest.importorskip(engine, reason=f"needs {engine}")
    with unchanged():
        bench([MODEL], batches=[2], engines=[engine], forms=["dense"], seconds=0)


@pytest.mark.long
@pytest.mark.parametrize(("to", "module"), [("pt2", "torch"), ("onnx", "onnxruntime"), ("executorch", "executorch")])
def test_export_leaves_global_state_unchanged(to, module, unchanged, tmp_path, monkeypatch):
    pytest.importorskip(module, reason=f"needs {module}")
    if to == "onnx":
        monkeypatch.delattr("onnxruntime.set_default_logger_severity")  # is global, and cannot be read
    with unchanged():
        export(MODEL, to, tmp_path / f"m1{'.pte' if to == 'executorch' else f'.{to}'}")


@pytest.mark.parametrize("form", UNIT_FORMS)
def test_fold_leaves_global_state_unchanged(form, unchanged):
    network = timm.create_model(MODEL).eval()
    with unchanged():
        fold(network, form)


def test_resolve_forms_leaves_global_state_unchanged(unchanged):
    network = timm.create_model(MODEL).eval()
    with unchanged():
        resolve_forms("auto", network, (3, 32, 32))
