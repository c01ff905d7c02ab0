import timm
import torch

from wavenet_zoo.deployment.choose import UnitTimes, choose_forms, resolve_forms
from wavenet_zoo.deployment.fold import fold, forms_of, units_of
from wavenet_zoo.deployment.forms import one_form, save_forms, summarize_forms


def test_chosen_forms_are_supported_by_every_unit():
    torch.manual_seed(0)
    network = timm.create_model("waveletnet_cifar_m1", kappas=(0, 3, 1)).eval()
    images = torch.randn(2, 3, 32, 32)
    forms = choose_forms(network, images, "torch")
    assert list(forms) == units_of(network)
    folded = fold(network, forms)
    assert forms_of(folded) == forms
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images), rtol=0, atol=1e-4)


def test_unit_stays_dense_below_the_minimum_gain():
    times = UnitTimes(["blocks.0.0"], (1, 8, 4, 4), (8, 48, 8), {"dense": 1.0, "split": 0.98, "halves": 0.99})
    assert times.best == "dense"
    times.milliseconds["halves"] = 0.96
    assert times.best == "halves"


def test_resolve_forms_accepts_names_files_and_auto(tmp_path, caplog):
    caplog.set_level("INFO", "wavenet_zoo")
    network = timm.create_model("waveletnet_cifar_m1").train()
    assert resolve_forms("split2", network, (3, 32, 32)) == "split2"
    save_forms(tmp_path / "f.json", {"blocks.0.0": "halves"}, {"engine": "torch"})
    assert resolve_forms(str(tmp_path / "f.json"), network, (3, 32, 32)) == {"blocks.0.0": "halves"}
    chosen = resolve_forms("auto", network, (3, 32, 32))
    assert list(chosen) == units_of(network)
    assert f"forms, measured in torch at batch size 1: {summarize_forms(chosen)}" in caplog.text


def test_forms_are_summarized_as_one_name_and_as_text():
    assert one_form("split") == one_form({"a": "split", "b": "split"}) == "split"
    assert one_form({"a": "split", "b": "dense"}) == "mixed"
    assert one_form({}) == "dense"
    assert summarize_forms({"a": "split", "b": "dense", "c": "dense"}) == "2 dense, 1 split"
    assert summarize_forms({}) == "no WaveletNet units"
