"""Weights files of unknown origin: read, or refused in one line, with bounded memory."""

import contextlib
import io
import json
import os
import resource
import zipfile

import pytest
import safetensors.torch
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.weights.files import WeightsFile, read_weights_file, weights_bytes
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.metadata import WeightsMetadata

MODEL = "waveletnet_cifar_m1"
PREPROCESSING = {
    "input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center",
    "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
}  # fmt: skip


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(5)
    return timm.create_model(MODEL, num_classes=10).state_dict()


def refused(path) -> str:
    with pytest.raises(WavezooError) as error:
        load_model(MODEL, path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    return str(error.value)


@contextlib.contextmanager
def little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


@pytest.mark.reliability(9, 49)
@pytest.mark.parametrize(
    ("kind", "reason"),
    [("fifo", "is a named pipe"), ("device", "is a device"), ("sparse", "not a safetensors file"),
     ("sparse zip", "not a PyTorch checkpoint"), ("sparse pickle", "the limit"), ("long name", "too long"),
     ("no user", "home folder of this user"), ("null", "NUL byte"),
     ("folder", "is a folder without model.safetensors")],
)  # fmt: skip
def test_special_files_are_refused_without_reading_them(tmp_path, kind, reason):
    path = tmp_path / "w.bin"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind.startswith("sparse"):
        path.write_bytes({"sparse zip": b"PK", "sparse pickle": b"\x80\x02"}.get(kind, b""))
        os.truncate(path, 3 << 30)
    names = {"device": "/dev/zero", "long name": "./" + "x" * 300, "no user": "~nosuchuser/w.pt", "null": "./a\0b"}
    with little_memory():
        assert reason in refused({**names, "folder": tmp_path}.get(kind, path))


@pytest.mark.reliability(9, 49)
@pytest.mark.parametrize("name", ["size of the file", "position of a tensor"])
def test_sparse_file_with_a_valid_header_is_refused(tmp_path, name):
    end = 4 if name == "size of the file" else 1 << 30
    header = json.dumps({"a": {"dtype": "F32", "shape": [end // 4], "data_offsets": [0, end]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(tmp_path / "w.safetensors", 2 << 30)
    with little_memory():
        assert "not a safetensors file" in refused(tmp_path / "w.safetensors")


@pytest.mark.reliability(9, 66)
@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"model": ' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}", "nested too deep"),
        ("null", "a NoneType, not a mapping"),
        ({"model_kwargs": [1]}, "model_kwargs"),
        ({"model_kwargs": {"pretrained": False}}, "model argument 'pretrained' cannot be set"),
        ({"model_kwargs": {"in_chans": 1}}, "in_chans=1 is not supported: images are RGB"),
        ({"classes": ["a"] * 3}, "classes: 3 class names for 10 outputs"),
        ({"classes": ["a"] * 20}, "classes: 20 class names for 10 outputs"),
        ({"preprocessing": {**PREPROCESSING, "crop_pct": 0}}, "preprocessing: crop_pct 0.0: must be a number above 0"),
        ({"preprocessing": {**PREPROCESSING, "interpolation": "random"}}, "interpolation 'random': must be one of"),
        ({"preprocessing": {**PREPROCESSING, "std": [0, 0, 0]}}, "std (0.0, 0.0, 0.0): must be 3 positive numbers"),
    ],
)  # fmt: skip
def test_metadata_that_makes_no_sense_is_refused_with_its_key(tmp_path, tensors, metadata, reason):
    text = metadata if isinstance(metadata, str) else json.dumps({"model": MODEL, **metadata})
    (tmp_path / "w.safetensors").write_bytes(safetensors.torch.save(tensors, {"wavenet_zoo": text}))
    message = refused(tmp_path / "w.safetensors")
    assert reason in message and "w.safetensors: " in message


@pytest.mark.reliability(9, 47)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.to(torch.float8_e4m3fn), "is of type float8_e4m3fn, which is not supported"),
        (lambda v: v.to(torch.complex64), "is of type complex64, which is not supported"),
        (lambda v: v.to(torch.int32), "is of type int32, but the model has floats"),
        (lambda v: v.sum(), "conv_stem.weight has shape ()"),
    ],
)
def test_tensors_of_other_types_or_shapes_are_refused(tmp_path, tensors, change, reason):
    changed = {key: change(value) if value.is_floating_point() else value for key, value in tensors.items()}
    try:
        safetensors.torch.save_file(changed, tmp_path / "w.safetensors")
    except KeyError as error:
        pytest.skip(f"this version of safetensors has no {error}")
    assert reason in refused(tmp_path / "w.safetensors")


@pytest.mark.reliability(47)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floats_are_converted_to_those_of_the_model(tmp_path, tensors, dtype):
    changed = {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}
    safetensors.torch.save_file(changed, tmp_path / "w.safetensors")
    model = load_model(MODEL, tmp_path / "w.safetensors")[0]
    assert torch.equal(model.conv_stem.weight, changed["conv_stem.weight"].float())


@pytest.mark.reliability(9, 52)
def test_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path):
    plain = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(1 << 20)}}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    assert "a compressed archive" in refused(tmp_path / "w.pt")


@pytest.mark.reliability(9, 52)
def test_expanded_tensor_is_refused_before_its_values_are_read(tmp_path):
    torch.save({"a": torch.zeros(1).expand(10**7, 10**7)}, tmp_path / "w.pt")
    assert "tensor a has more values than the file" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "key",
    ["model_state_dict", "net", "network", "weights", "params", "module", "state_dict_ema", "model_ema", "ema",
     "ema_state_dict", ""],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model.", "module.model.", "timm_model."])
def test_checkpoints_of_other_tools_load(tmp_path, tensors, key, prefix):
    state_dict = {prefix + name: value for name, value in tensors.items()}
    torch.save({key: state_dict, "epoch": 3, "optimizer": {}} if key else state_dict, tmp_path / "w.pt")
    file = read_weights_file(tmp_path / "w.pt")
    assert list(file.tensors) == list(tensors) and file.variant == ("ema" if "ema" in key else "raw")


def test_checkpoint_without_known_keys_is_refused_with_its_keys(tmp_path):
    torch.save({"generator": {"weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "w.pt")
    assert "contains no weights; its keys are: generator, epoch" in refused(tmp_path / "w.pt")


@pytest.mark.reliability(9)
@pytest.mark.parametrize("cut", [100, 5000, -30])
def test_damaged_files_are_refused_with_advice(tmp_path, tensors, cut):
    content = weights_bytes(tensors, WeightsMetadata(model=MODEL))
    (tmp_path / "w.safetensors").write_bytes(content[:cut])
    assert "download or convert the file again" in refused(tmp_path / "w.safetensors")
    torch.save(tensors, tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:cut])
    assert "download or convert the file again" in refused(tmp_path / "w.pt")


damage = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
many = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refuse(path):
    try:
        assert isinstance(read_weights_file(path), WeightsFile)
    except WavezooError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def checkpoints():
    contents = []
    for zipped in (True, False):
        buffer = io.BytesIO()
        state_dict = {"a.weight": torch.ones(3, 4), "a.count": torch.tensor(3)}
        checkpoint = {"state_dict": state_dict, "epoch": 3, "metadata": {"model": MODEL}}
        torch.save(checkpoint, buffer, _use_new_zipfile_serialization=zipped)
        contents.append(buffer.getvalue())
    return contents


@pytest.mark.reliability(9)
@many
@given(st.integers(0, 1), damage)
def test_checkpoint_with_random_bytes_is_read_or_refused(tmp_path, checkpoints, kind, damage):
    content = checkpoints[kind]
    for place, length, other in damage:
        start = int(place * len(content))
        content = content[:start] + other + content[start + length :]
    (tmp_path / "w.pt").write_bytes(content)
    read_or_refuse(tmp_path / "w.pt")


@pytest.mark.reliability(9, 66)
@many
@given(st.sampled_from([*WeightsMetadata.model_fields, *PREPROCESSING, ""]), values)
def test_metadata_with_random_values_is_read_or_refused(tmp_path, key, value):
    metadata = {"model": MODEL, "preprocessing": PREPROCESSING, key: value} if key else value
    if key in PREPROCESSING:
        metadata = {"model": MODEL, "preprocessing": {**PREPROCESSING, key: value}}
    content = safetensors.torch.save({"a": torch.zeros(1)}, {"wavenet_zoo": json.dumps(metadata)})
    (tmp_path / "w.safetensors").write_bytes(content)
    read_or_refuse(tmp_path / "w.safetensors")
