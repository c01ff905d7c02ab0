"""Which images and labels an evaluation scores, and among which outputs."""

import json
import pkgutil
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from wavenet_zoo import WavezooError, evaluate
from wavenet_zoo.data.classes import imagenet_classes
from wavenet_zoo.weights.files import weights_bytes
from wavenet_zoo.weights.metadata import WeightsMetadata

MODEL = "waveletnet_cifar_m1"


@pytest.fixture
def three_digits(digit_folder):
    """The validation images of 7, 8 and 9."""
    for name in "0123456":
        shutil.rmtree(digit_folder / "val" / name)
    return digit_folder / "val"


@pytest.fixture
def imagenet_model():
    """A small network with the 1,000 classes of ImageNet, whose outputs depend on the image."""
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=1000).eval()
    model.pretrained_cfg["input_size"] = (3, 32, 32)
    return model


def listed(name):
    return pkgutil.get_data("timm.data", f"_info/{name}").decode()


def write_images(root, names):
    generator = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(root / name, "JPEG")
    return root


def plain_logits(model, files):
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        return torch.stack([model(transform(Image.open(file).convert("RGB"))[None])[0] for file in files])


def test_some_classes_are_scored_among_all_and_among_their_own(three_digits):
    both, own = (evaluate(MODEL, None, three_digits, workers=0, among=among) for among in (None, "data"))
    assert (both.among, both.top1) == ("all", both.scores["all"].top1)
    assert (own.among, own.top1, own.loss) == ("data", own.scores["data"].top1, own.scores["data"].loss)
    assert own.correct_top5 == 9  # among three classes, every label is among the best five
    assert set(own.predictions.top.ravel().tolist()) == {7, 8, 9}
    assert own.loss < both.loss
    assert own.to_row()["among"] == "data" and json.loads(json.dumps(own.to_dict()))["scores"]["all"]["images"] == 9


def test_complete_classes_have_one_score(small_digits):
    result = evaluate(MODEL, None, small_digits, workers=0, among="data")
    assert list(result.scores) == ["all"] and result.among == "all"


def test_every_metric_has_its_uncertainty(small_digits):
    result = evaluate(MODEL, None, small_digits, workers=0)
    assert result.top1_interval[0] < result.top1 < result.top1_interval[1]
    assert result.loss_standard_error > 0 and 0 < result.ece < 1
    assert result.macro_top1 == pytest.approx(result.top1)  # three images of every class


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 7), (2, 64)])
def test_predictions_name_every_image_in_the_order_of_the_data(small_digits, workers, batch_size):
    found = evaluate(MODEL, None, small_digits, workers=workers, batch_size=batch_size).predictions
    assert found.paths == [f"{label}/{number}.png" for label in range(10) for number in range(3)]
    assert list(found.class_names) == [str(label) for label in range(10)]
    assert found.labels.tolist() == [label for label in range(10) for _ in range(3)]


def test_limited_evaluation_takes_images_of_every_class(small_digits):
    result = evaluate(MODEL, None, small_digits, workers=0, limit=10, per_class=True)
    assert result.limit == {"images": 10, "of": 30} and result.images == 10
    assert {c["images"] for c in result.per_class.values()} == {1}
    whole = evaluate(MODEL, None, small_digits, workers=0)
    assert result.data["fingerprint"] != whole.data["fingerprint"] and whole.limit is None
    assert result.to_row()["limit"] == "10 of 30"


def test_imagenet_a_is_scored_among_its_classes(imagenet_model, tmp_path):
    synsets = listed("imagenet_a_synsets.txt").split()
    root = write_images(tmp_path / "imagenet-a", [f"{synset}/0.000116_fox _ fox_0.86.jpg" for synset in synsets])
    result = evaluate(imagenet_model, data=root, workers=0)
    assert result.label_set["name"] == "imagenet-a" and "200 classes" in result.label_set["description"]
    logits = plain_logits(imagenet_model, [root / path for path in result.predictions.paths])
    outputs = [int(line) for line in listed("imagenet_a_indices.txt").split()]
    best = torch.tensor(outputs)[logits[:, outputs].argmax(1)]
    assert result.among == "data" and result.predictions.top[:, 0].tolist() == best.tolist()
    assert (logits.argmax(1) != best).any()
    assert evaluate(imagenet_model, data=root, workers=0, among="all").among == "all"


def test_real_labels_count_any_of_the_labels_of_an_image(imagenet_model, tmp_path):
    labels = json.loads(listed("imagenet_real_labels.json"))
    synsets = imagenet_classes(1000)
    names = [f"{synsets[i % 7]}/ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(40)]
    root = write_images(tmp_path / "val", names)
    images = [name for i, name in enumerate(names) if labels[i]]
    logits = plain_logits(imagenet_model, [root / name for name in images])
    real = {name: labels[i] for i, name in enumerate(names)}
    with torch.no_grad():  # predict a class that is a label of some images, and the folder of none
        imagenet_model.classifier.bias[real[images[0]][0]] += 100
    result = evaluate(imagenet_model, data=root, workers=0, labels="real")
    assert len(images) < len(names) and result.images == len(logits) == len(images)
    assert sorted(result.predictions.paths) == sorted(images)
    best = real[images[0]][0]
    expected = [best in real[path] for path in result.predictions.paths]
    assert result.predictions.correct.tolist() == expected and 0 < sum(expected) < len(expected)
    assert result.label_set["name"] == "imagenet-real"
    with pytest.raises(WavezooError, match="--labels real requires the 1,000 classes of ImageNet"):
        evaluate(MODEL, data=root, labels="real", workers=0)


def test_v2_folders_are_numbers_of_outputs(imagenet_model, tmp_path):
    root = write_images(
        tmp_path / "imagenetv2-matched-frequency-format-val", [f"{i}/{i:03d}.jpeg" for i in range(1000)]
    )
    with torch.no_grad():
        imagenet_model.classifier.bias[10] += 100  # as text, folder 10 is the third
    result = evaluate(imagenet_model, data=root, workers=0)
    assert result.predictions.paths[int(np.flatnonzero(result.predictions.correct)[0])] == "10/010.jpeg"
    assert result.label_set["name"] == "imagenet-v2" and result.among == "all"


def test_v2_folders_match_weights_with_classes_in_another_order(imagenet_model, tmp_path):
    root = write_images(tmp_path / "imagenetv2-val", [f"{i}/{i:03d}.jpeg" for i in range(1000)])
    with torch.no_grad():
        imagenet_model.classifier.bias[989] += 100
    metadata = WeightsMetadata(model="test_efficientnet", classes=imagenet_classes(1000)[::-1])
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(weights_bytes(imagenet_model.state_dict(), metadata))
    result = evaluate("test_efficientnet", weights, root, size=32, workers=0)
    assert [path for path, hit in zip(result.predictions.paths, result.predictions.correct) if hit] == ["10/010.jpeg"]
