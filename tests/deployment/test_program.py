"""Files of torch.export: those of ``wavezoo export`` run; code in others does not."""

import io
import json
import os
import pickle
import zipfile

import pytest
import torch

from wavenet_zoo import export
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.formats._program import _is_expression, safe_program
from wavenet_zoo.deployment.formats.pt2 import exported_program
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.weights.loading import load_model

MODEL = "archive/models/model.json"
SAMPLES = "archive/data/sample_inputs/model.pt"
WEIGHTS = "archive/data/weights/model_weights_config.json"


class Code:
    def __reduce__(self):
        return os.mkdir, ("code-ran",)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "m.pt2"
    export("waveletnet_cifar_m1", "pt2", path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def opened(members, tmp_path, monkeypatch):
    """Write the file with changed members, and open it in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def open_with(changes, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile("m.pt2", "w", compression) as archive:
            for name, content in {**members, **changes}.items():
                archive.writestr(name, content)
        network = open_exported_file(tmp_path / "m.pt2")[0]
        return network(torch.ones(1, 3, 32, 32))

    yield open_with
    assert not (tmp_path / "code-ran").exists()


@pytest.mark.reliability(59)
def test_file_has_no_images_and_no_paths_of_this_machine(members):
    samples = torch.load(io.BytesIO(members[SAMPLES]), weights_only=True)
    assert not samples[0][0].any()
    assert b"/" not in members[MODEL].replace(b"\\/", b"")


@pytest.mark.reliability(58)
def test_file_runs_without_its_sample_inputs(members, opened):
    network = load_model("waveletnet_cifar_m1")[0].eval()
    with torch.no_grad():
        torch.testing.assert_close(opened({}), network(torch.ones(1, 3, 32, 32)), rtol=1e-4, atol=1e-4)
    for content in (b"", pickle.dumps(Code()), b"x"):
        assert torch.equal(opened({SAMPLES: content}), opened({}))


@pytest.mark.reliability(10, 58)
@pytest.mark.parametrize("format", ["zip", "raw"])
def test_pickled_members_are_refused_and_do_not_run(members, opened, format):
    buffer = io.BytesIO()
    torch.save(Code(), buffer)
    content = buffer.getvalue() if format == "zip" else pickle.dumps(Code())
    config = json.loads(members[WEIGHTS])
    config["config"]["conv_stem.weight"]["use_pickle"] = True
    constants = {"config": {"c": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}}}
    for changes in (
        {"archive/data/weights/weight_0": content, WEIGHTS: json.dumps(config)},
        {"archive/data/constants/opaque_obj_0": content},
        {"archive/data/constants/model_constants_config.json": json.dumps(constants)},
        {"archive/data/weights/model.pt": content},
        {"archive/data/constants/model.pt": content},
        {"archive/data/aotinductor/model/x.so": content},
        {"other/models/model.json": content},
        {MODEL: content},
    ):
        with pytest.raises(WavezooError):
            opened(changes)


@pytest.mark.reliability(10, 58)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Symbol('s77', positive=True, integer=True)", "__import__('os').mkdir('code-ran')"),
        ("Symbol('s77', positive=True, integer=True)", "Symbol('s77', positive=exec('import os'))"),
        ("torch.ops.aten.conv2d.default", "torch.os.mkdir"),
        ("torch.ops.aten.conv2d.default", "torch.ops.aten.from_file.default"),
        ("torch.ops.aten.conv2d.default", "_operator.attrgetter"),
        ('"name": "x"', '"name": "x=__import__(\'os\').mkdir(\'code-ran\')"'),
        ("conv_stem.weight", "conv_stem\\\"+__import__('os').mkdir('code-ran')+\\\""),
        ("builtins.tuple", "collections.defaultdict"),
    ],
)  # fmt: skip
def test_code_in_the_graph_is_refused_and_does_not_run(members, opened, old, new):
    text = members[MODEL].decode()
    symbol = next(part for part in text.split('"') if part.startswith("Symbol("))
    old = symbol if old.startswith("Symbol(") else old
    assert old in text
    with pytest.raises(WavezooError, match="which 'wavezoo export' does not write"):
        opened({MODEL: text.replace(old, new)})


@pytest.mark.reliability(58)
def test_guards_of_the_graph_are_ignored(members, opened):
    program = json.loads(members[MODEL])
    program["guards_code"] = ["__import__('os').mkdir('code-ran')"]
    opened({MODEL: json.dumps(program)})


@pytest.mark.reliability(9, 52)
def test_archives_that_unpack_to_more_are_refused(members, opened):
    with pytest.raises(WavezooError, match="a compressed archive"):
        opened({}, zipfile.ZIP_DEFLATED)
    config = json.loads(members[WEIGHTS])
    config["config"]["conv_stem.weight"]["tensor_meta"]["sizes"][0]["as_int"] = 10**12
    with pytest.raises(WavezooError, match="a tensor that is larger than its data"):
        opened({WEIGHTS: json.dumps(config)})


@pytest.mark.reliability(58)
@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("s77", True),
        ("Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))", True),
        ("FloorDiv(Symbol('s77', positive=True, integer=True), Integer(4))", True),
        ("s0*4 + 1", True),
        ("9**9**9**9", False),
        ("s0.__class__", False),
        ("eval('1')", False),
        ("Symbol('a b')", False),
        ("[s0 for s0 in (1,)]", False),
        ("lambda: 0", False),
        ("f'{s0}'", False),
        ("(" * 500 + ")" * 500, False),
        ("1" * 400, False),
    ],
)
def test_symbolic_expressions_are_arithmetic_only(text, valid):
    assert _is_expression(text) is valid


@pytest.mark.long
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mobilenetv3_small_100"])
def test_programs_of_other_models_pass(name, tmp_path):
    network = load_model(name, "none")[0].eval()
    images = torch.randn(2, 3, 224, 224)
    buffer = io.BytesIO()
    torch.export.save(exported_program(network, images), buffer)
    module = torch.export.load(io.BytesIO(safe_program(tmp_path / "m.pt2", buffer.getvalue())[0])).module()
    with torch.no_grad():
        torch.testing.assert_close(module(images), network(images))
