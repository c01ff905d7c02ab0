"""``hubconf.py``: the entry points of torch.hub."""

import importlib.util
import sys
from pathlib import Path

import timm
import torch

import wavenet_zoo  # noqa: F401

REPOSITORY = Path(__file__).resolve().parent.parent


def test_torch_hub_has_an_entry_point_for_every_waveletnet():
    spec = importlib.util.spec_from_file_location("hubconf", REPOSITORY / "hubconf.py")
    hubconf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    names = {name for name, value in vars(hubconf).items() if callable(value) and not name.startswith("_")}
    assert names == {*timm.list_models("waveletnet_*"), "from_hub"} and "waveletnet_x1" in names
    assert all(importlib.util.find_spec(name) for name in hubconf.dependencies)


def test_torch_hub_loads_the_weights_that_timm_loads(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    load = {"repo_or_dir": str(REPOSITORY), "model": "waveletnet_cifar_m1", "source": "local"}
    found = torch.hub.load(**load, pretrained=True).eval()
    expected = timm.create_model("waveletnet_cifar_m1", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(found(images), expected(images))
    assert torch.hub.load(**load, num_classes=7).num_classes == 7
