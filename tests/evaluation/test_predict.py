import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from wavenet_zoo import WavezooError, evaluate, predict
from wavenet_zoo.weights.loading import load_model

MODEL = "waveletnet_cifar_m1"
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def count(result):
    """Top-1 and top-5 by the names of the class folders."""
    labels = [path.split("/")[-2] for path in result.paths]
    names = [[result.class_names[i] for i in outputs] for outputs in result.outputs]
    return sum(n[0] == label for n, label in zip(names, labels)), sum(label in n for n, label in zip(names, labels))


@pytest.mark.parametrize("weights", [None, "none"])
def test_counts_of_a_labelled_folder_are_those_of_eval(small_digits, weights):
    folder, options = small_digits / "train", {"weights": weights, "size": 24, "crop_pct": 0.5, "workers": 0}
    result = predict(MODEL, folder, **options, batch_size=7)
    expected = evaluate(MODEL, data=folder, **options)
    assert result.images == expected.images == 100
    if weights is None:
        assert count(result) == (expected.correct_top1, expected.correct_top5)
        assert expected.correct_top1 < expected.correct_top5 < 100  # neither is trivial
    np.testing.assert_array_equal(result.outputs, expected.predictions.top)
    np.testing.assert_allclose(result.probabilities, expected.predictions.probabilities, rtol=1e-5)
    assert result.preprocessing == expected.preprocessing and result.weights == expected.weights


def test_predictions_are_those_of_a_plain_model(small_digits):
    file = small_digits / "val" / "3" / "0.png"
    model = timm.create_model(MODEL, pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        expected = model(transform(Image.open(file).convert("RGB"))[None])[0].softmax(0)
    result = predict(MODEL, file, top=3)
    assert result.outputs.tolist() == [expected.topk(3).indices.tolist()]
    np.testing.assert_allclose(result.probabilities[0], expected.topk(3).values, rtol=1e-4)
    (prediction,) = result.to_dict()["predictions"]
    assert prediction["path"] == str(file) and len(prediction["top"]) == 3
    assert prediction["top"][0] == {"class": "3", "name": "3", "probability": pytest.approx(float(expected.max()))}
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 2)])
def test_predictions_depend_on_neither_batches_nor_workers(small_digits, batch_size, workers):
    reference = predict(MODEL, small_digits / "val", workers=0)
    result = predict(MODEL, small_digits / "val", batch_size=batch_size, workers=workers)
    assert result.paths == reference.paths and len(result.paths) == 30
    assert result.outputs[:, 0].tolist() == reference.outputs[:, 0].tolist()
    np.testing.assert_allclose(result.probabilities, reference.probabilities, rtol=1e-4, atol=1e-7)


def test_pil_images_are_predicted_as_their_files(small_digits):
    files = [small_digits / "val" / name / "0.png" for name in "852"]
    images = [Image.open(file) for file in files]
    result = predict(MODEL, [images[0], files[1], images[2]])
    np.testing.assert_array_equal(result.probabilities, predict(MODEL, files).probabilities)
    assert result.paths == ["0", str(files[1]), "2"] and result.workers == 0
    assert predict(MODEL, images[0]).outputs[0, 0] == 8
    with pytest.raises(WavezooError, match="workers=0"):
        predict(MODEL, images, workers=2)


@pytest.mark.parametrize("top", [1, 10, 50])
def test_top_is_at_most_the_number_of_outputs(small_digits, top):
    result = predict(MODEL, small_digits / "val" / "0", top=top)
    assert result.outputs.shape == (3, min(top, 10)) and result.top == min(top, 10)
    with pytest.raises(WavezooError, match="must be at least 1"):
        predict(MODEL, small_digits, top=0)


def test_first_of_equal_outputs_is_the_best(small_digits):
    model = timm.create_model(MODEL)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 1, 0, 1, 1, 1, 1, 1, 1, 0]))
    assert predict(model, small_digits / "val" / "0", top=9).outputs.tolist() == [[1, 3, 4, 5, 6, 7, 8, 0, 2]] * 3


def test_synsets_have_names_beside_the_class(small_digits):
    result = predict("mobilenetv2_100", small_digits / "val" / "0" / "0.png", weights="none", size=32, top=1000)
    names = {best["class"]: best["name"] for best in result.predictions[0]["top"]}
    assert len(names) == 1000 and names["n01440764"] == "tench, Tinca tinca"


@pytest.mark.parametrize("name", ["waveletnet_cifar_m1", "waveletnet_x0_75", "mobilenetv2_100", "resnet18"])
def test_features_of_a_folded_network_are_those_of_timm(small_digits, name):
    model, _ = load_model(name, "none")
    with torch.no_grad():  # batch norms that folding changes
        generator = torch.Generator().manual_seed(0)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
                for tensor in (module.bias, module.running_mean):
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    files = [small_digits / "val" / digit / "0.png" for digit in "27"]
    model.eval()
    data = {**timm.data.resolve_model_data_config(model), "input_size": (3, 64, 64)}
    transform = timm.data.create_transform(**data, is_training=False)
    with torch.no_grad():
        batch = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
        expected = model.forward_head(model.forward_features(batch), pre_logits=True)
    result = predict(model, files, features=True, size=64)
    assert result.features.dtype == np.float32 and result.feature_dim == expected.shape[1]
    np.testing.assert_allclose(result.features, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert np.abs(result.features[0] - result.features[1]).max() > 1e-2
    assert result.outputs is None and result.predictions == []


def test_features_of_a_module_without_them_are_an_error(small_digits):
    class Plain(torch.nn.Linear):
        num_classes = 2

        def forward(self, x):
            return super().forward(x.mean((2, 3)))

    with pytest.raises(WavezooError, match="Plain has no features"):
        predict(Plain(3, 2), small_digits / "val" / "0", features=True)
    with pytest.raises(WavezooError, match="exported files have no features"):
        predict("x.onnx", small_digits / "val" / "0", features=True)


def test_bad_image_is_an_error_or_skipped_and_listed(digit_folder):
    bad = digit_folder / "val" / "0" / "1.png"
    bad.write_bytes(b"bad")
    with pytest.raises(WavezooError) as error:
        predict(MODEL, digit_folder / "val", workers=0)
    assert str(bad) in error.value.message and "--skip-bad-images" in error.value.hint
    result = predict(MODEL, digit_folder / "val", batch_size=2, workers=0, skip_bad_images=True)
    assert result.images == len(result.paths) == len(result.outputs) == 29
    assert result.skipped == [str(bad)] and str(bad) not in result.paths
    with pytest.raises(WavezooError, match=r"no image can be decoded, for example .*1\.png"):
        predict(MODEL, bad, skip_bad_images=True)


def test_outputs_that_are_not_finite_name_the_image(small_digits):
    model = timm.create_model(MODEL)
    with torch.no_grad():
        model.classifier.bias[3] = torch.nan
    with pytest.raises(WavezooError, match=r"0/0\.png: the outputs of the model are not finite"):
        predict(model, small_digits / "val" / "0")


def test_prediction_leaves_the_global_state_as_it_was(small_digits, unchanged_state):
    with unchanged_state():
        predict(MODEL, small_digits / "val" / "0", workers=1)


@pytest.mark.long
def test_two_processes_predict_each_image_once_in_order(process, digit_folder, tmp_path):
    (digit_folder / "val" / "0" / "1.png").write_bytes(b"bad")
    listed = sorted(str(file) for file in (digit_folder / "val").glob("*/*.png"))
    (tmp_path / "list").write_text("\n".join(listed))
    (tmp_path / "with_stdin.py").write_text(
        "import os, sys\n"
        "sys.stdin = open('list')\n"
        "if os.environ['RANK'] != '0':\n"
        "    sys.stdin.close()  # it is shared: only one process can read it\n"
        "from wavenet_zoo.cli.main import cli\n"
        "cli(prog_name='wavezoo')\n"
    )
    run = process(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "with_stdin.py", "predict", MODEL, "-",
        "--batch-size", 4, "--skip-bad-images", "--json",
    )  # fmt: skip
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    together = json.loads(out)
    alone = predict(MODEL, listed, skip_bad_images=True)
    assert together["processes"] == 2 and together["images"] == 29
    assert [p["path"] for p in together["predictions"]] == alone.paths
    assert together["skipped"] == alone.skipped
    best = [p["top"][0]["class"] for p in together["predictions"]]
    assert best == [p["top"][0]["class"] for p in alone.predictions]
