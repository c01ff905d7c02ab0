"""Functions of deployment leave the global state of the process unchanged."""

import pytest
import timm
import torch
from torch._dynamo.utils import counters

from wavenet_zoo import bench, export
from wavenet_zoo.deployment.choose import resolve_forms
from wavenet_zoo.deployment.fold import UNIT_FORMS, fold

MODEL = "waveletnet_cifar_m1"


def test_bench_with_auto_forms_leaves_global_state_unchanged(unchanged_state):
    with unchanged_state():
        bench([MODEL], batches=[2], forms=["auto", "factored"], seconds=0)


def test_bench_of_a_training_step_leaves_global_state_unchanged(unchanged_state):
    with unchanged_state():  # dropout draws random numbers
        bench([MODEL], batches=[2], train=True, seconds=0, model_kwargs={"drop_rate": 0.5, "drop_path_rate": 0.5})


@pytest.mark.long
@pytest.mark.parametrize("train", [False, True])
def test_bench_in_compile_leaves_global_state_unchanged(train, unchanged_state):
    with unchanged_state():
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
def test_bench_in_other_engines_leaves_global_state_unchanged(engine, unchanged_state):
    pytest.importorskip(engine, reason=f"needs {engine}")
    with unchanged_state():
        bench([MODEL], batches=[2], engines=[engine], forms=["dense"], seconds=0)


@pytest.mark.long
@pytest.mark.parametrize(("to", "module"), [("pt2", "torch"), ("onnx", "onnxruntime"), ("executorch", "executorch")])
def test_export_leaves_global_state_unchanged(to, module, unchanged_state, tmp_path, monkeypatch):
    pytest.importorskip(module, reason=f"needs {module}")
    if to == "onnx":
        monkeypatch.delattr("onnxruntime.set_default_logger_severity")  # is global, and cannot be read
    with unchanged_state():
        export(MODEL, to, tmp_path / f"m1{'.pte' if to == 'executorch' else f'.{to}'}")


@pytest.mark.parametrize("form", UNIT_FORMS)
def test_fold_leaves_global_state_unchanged(form, unchanged_state):
    network = timm.create_model(MODEL).eval()
    with unchanged_state():
        fold(network, form)


def test_resolve_forms_leaves_global_state_unchanged(unchanged_state):
    network = timm.create_model(MODEL).eval()
    with unchanged_state():
        resolve_forms("auto", network, (3, 32, 32))
