import io
import json
import os
import shutil
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

import wavenet_zoo
from wavenet_zoo import WavezooError, evaluate
from wavenet_zoo.data.digits import open_digits
from wavenet_zoo.data.folders import open_folder
from wavenet_zoo.evaluation import metrics
from wavenet_zoo.models import read_manifest
from wavenet_zoo.runtime.records import append_csv, write_json

MODEL = "waveletnet_cifar_m1"
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def plain_counts(model, images_and_labels):
    """Top-1 and top-5 the way anyone would write it: one image at a time, timm's transform, plain eager model."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    top1 = top5 = 0
    with torch.no_grad():
        for image, label in images_and_labels:
            ranked = model(transform(image)[None])[0].argsort(descending=True)[:5].tolist()
            top1 += ranked[0] == label
            top5 += label in ranked
    return top1, top5


def test_shipped_weights_reach_what_the_manifest_states():
    stated = read_manifest()[f"{MODEL}.digits"]["results"]["digits/test"]
    result = evaluate(MODEL)
    assert (result.images, result.correct_top1) == (stated["images"], stated["correct_top1"])
    assert (result.top1, result.correct_top5) == (stated["top1"], stated["correct_top5"])
    assert result.loss == pytest.approx(stated["loss"], rel=1e-4)


@pytest.mark.parametrize(("pretrained", "least"), [(True, (350, 355)), (False, (5, 100))])
def test_counts_equal_those_of_a_plain_loop(pretrained, least):
    torch.manual_seed(0)
    model = timm.create_model(MODEL, pretrained=pretrained, num_classes=10).eval()
    digits = open_digits("test")
    counts = plain_counts(model, ((digits.load(i), target) for i, target in enumerate(digits.targets)))
    result = evaluate(model, data="digits")
    assert (result.correct_top1, result.correct_top5) == counts
    assert result.images == len(digits.targets) == 360 and result.top1 == 100 * counts[0] / 360
    assert counts[0] >= least[0] and counts[1] >= least[1]


def test_imagenet_images_are_matched_by_synset(imagenet_sample, caplog):
    synsets = list(timm.data.ImageNetInfo().label_names())
    files = sorted((imagenet_sample / "val").glob("*/*.JPEG"))
    labels = [synsets.index(file.parent.name) for file in files]
    model, _ = wavenet_zoo.weights.loading.load_model("waveletnet_x0_75", "none")
    model.pretrained_cfg["input_size"] = (3, 96, 96)
    with torch.no_grad():  # predict some of the classes of the images: of 1000, random weights hit none
        model.classifier.bias.fill_(-1e4)
        model.classifier.bias[labels[::10]] = 0.0
    caplog.set_level("INFO", "wavenet_zoo")
    result = evaluate(model, data=imagenet_sample, workers=1)
    assert (result.images, result.data["classes"]) == (100, 100)
    assert "100 of the model's 1,000" in caplog.text
    images = ((Image.open(file).convert("RGB"), label) for file, label in zip(files, labels))
    counts = plain_counts(model.eval(), images)
    assert (result.correct_top1, result.correct_top5) == counts and counts[1] > 0, counts


@pytest.mark.reliability(25)
@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 2), (64, 0)])
def test_counts_do_not_depend_on_batches_or_workers(digit_folder, batch_size, workers):
    result = evaluate(MODEL, None, digit_folder, batch_size=batch_size, workers=workers, per_class=True)
    reference = evaluate(MODEL, None, digit_folder, batch_size=30, workers=0, per_class=True)
    assert (result.correct_top1, result.correct_top5, result.images) == (
        reference.correct_top1,
        reference.correct_top5,
        30,
    )
    assert result.loss == pytest.approx(reference.loss, rel=1e-4)
    assert result.per_class == reference.per_class
    assert sum(c["images"] for c in result.per_class.values()) == 30
    assert sum(c["correct"] for c in result.per_class.values()) == result.correct_top1


def test_a_few_classes_of_the_weights_are_matched_by_name(digit_folder):
    import shutil

    for name in "0123456":
        shutil.rmtree(digit_folder / "val" / name)
    result = evaluate(MODEL, None, digit_folder, workers=0, per_class=True)
    assert list(result.per_class) == ["7", "8", "9"] and result.images == 9
    assert result.correct_top1 >= 7  # by order they would count as 0, 1 and 2


@pytest.mark.reliability(12)
@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_a_bad_image_stops_the_evaluation_and_is_named(digit_folder, content):
    bad = digit_folder / "val" / "3" / "1.png"
    bad.write_bytes(content)
    with pytest.raises(WavezooError) as error:
        evaluate(MODEL, None, digit_folder, workers=0)
    assert str(bad) in error.value.message and "--skip-bad-images" in error.value.hint


@pytest.mark.reliability(12)
def test_a_truncated_image_is_bad_too(digit_folder):
    bad = digit_folder / "val" / "3" / "1.png"
    bad.write_bytes(bad.read_bytes()[:-30])
    with pytest.raises(WavezooError, match=r"1.png"):
        evaluate(MODEL, None, digit_folder, workers=2)


@pytest.mark.reliability(12)
def test_skipped_images_are_listed_and_their_neighbours_counted_once(digit_folder):
    everything = evaluate(MODEL, None, digit_folder, workers=0, per_class=True)
    bad = digit_folder / "val" / "3" / "1.png"
    bad.write_bytes(b"")
    result = evaluate(MODEL, None, digit_folder, workers=0, per_class=True, skip_bad_images=True)
    assert result.images == 29 and result.skipped == [str(bad)]
    assert {k: v for k, v in result.per_class.items() if k != "3"} == {
        k: v for k, v in everything.per_class.items() if k != "3"
    }


@pytest.mark.reliability(12)
def test_without_one_image_left_there_is_no_result(digit_folder):
    for file in (digit_folder / "val").glob("*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(WavezooError, match="no image can be decoded"):
        evaluate(MODEL, None, digit_folder, workers=0, skip_bad_images=True)


@pytest.mark.reliability(16)
def test_numbers_of_classes_that_differ_are_both_named(digit_folder):
    with pytest.raises(WavezooError, match="the weights have 1000 classes and the data has 10"):
        evaluate("waveletnet_x1", "none", digit_folder)


def test_weights_without_data_of_their_own_ask_for_data():
    with pytest.raises(WavezooError, match=r"requires data to be evaluated on .pass --data"):
        evaluate("waveletnet_x1", "none")


def test_a_module_can_be_evaluated_as_it_is():
    model = timm.create_model(MODEL, pretrained=True)
    assert evaluate(model, data="digits").correct_top1 == evaluate(MODEL).correct_top1


def test_the_record_says_everything_that_the_numbers_depend_on(digit_folder):
    record = json.loads(json.dumps(evaluate(MODEL, None, digit_folder, workers=0).to_dict()))
    assert record["preprocessing"]["input_size"] == [3, 32, 32]
    assert record["weights"]["sha256"] == read_manifest()[f"{MODEL}.digits"]["sha256"]
    assert set(record["environment"]["versions"]) >= {"wavenet_zoo", "timm", "torch", "torchvision", "pillow", "python"}
    assert record["data"]["fingerprint"] and record["date"]


@pytest.fixture(scope="module")
def digit_run(small_digits, tmp_path_factory):
    """A run on ``small_digits``, which it leaves unchanged."""
    out = tmp_path_factory.mktemp("run") / "run"
    return wavenet_zoo.train("digits", small_digits, out, ["schedule.epochs=1"], workers=0)


def overlap_of(run, folder, split="val"):
    data = evaluate(run.model, run.weights, folder, split=split, workers=0).data
    return data["seen"], data["overlap"]


def copy_of_val(small_digits, tmp_path) -> Path:
    return Path(shutil.copytree(small_digits / "val", tmp_path / "copied" / "val"))


@pytest.mark.reliability(35)
def test_all_images_of_a_split_are_recognized(digit_run, small_digits):
    assert overlap_of(digit_run, small_digits, "train") == ("training", {"training": 100, "validation": 0})
    assert overlap_of(digit_run, small_digits, "val") == ("validation", {"training": 0, "validation": 30})


@pytest.mark.reliability(35)
def test_copies_under_other_names_are_recognized(digit_run, small_digits, tmp_path):
    folder = copy_of_val(small_digits, tmp_path)
    (folder / "3" / "1.png").rename(folder / "3" / "renamed.png")
    (folder / "4" / "1.png").unlink()
    assert overlap_of(digit_run, folder) == ("validation", {"training": 0, "validation": 29})


@pytest.mark.reliability(35)
def test_training_images_among_others_are_counted(digit_run, small_digits, tmp_path):
    folder = copy_of_val(small_digits, tmp_path)
    shutil.copy(small_digits / "train" / "3" / "1.png", folder / "3" / "another.png")
    assert overlap_of(digit_run, folder) == ("partly", {"training": 1, "validation": 30})


@pytest.mark.reliability(35)
def test_replaced_images_of_equal_size_are_not_recognized(digit_run, small_digits, tmp_path):
    folder = copy_of_val(small_digits, tmp_path)
    for file in folder.glob("*/*.png"):
        content = file.read_bytes()
        gray = io.BytesIO()
        Image.new("L", (8, 8), 128).save(gray, "PNG")
        file.write_bytes(gray.getvalue() + bytes(len(content) - len(gray.getvalue())))
        assert file.stat().st_size == len(content)
    assert overlap_of(digit_run, folder) == ("neither", {"training": 0, "validation": 0})


@pytest.mark.reliability(35)
def test_seen_is_unknown_for_weights_of_other_tools(small_digits, tmp_path):
    data = evaluate("waveletnet_cifar_m1", "none", small_digits, workers=0, model_kwargs={"num_classes": 10}).data
    assert data["seen"] is None and data["overlap"] is None


@pytest.mark.reliability(35)
def test_runs_without_image_hashes_compare_names_and_sizes(digit_run, small_digits, tmp_path):
    weights = shutil.copy(digit_run.weights, tmp_path / "moved.safetensors")
    data = evaluate(digit_run.model, weights, small_digits, workers=0).data
    assert data["seen"] == "validation" and data["overlap"] is None


@pytest.mark.reliability(35)
def test_shipped_weights_know_their_images(wavezoo):
    text = wavezoo("eval", MODEL).out
    assert "360 of 360 images were validated on" in text
    digits = evaluate(MODEL, split="train").data
    assert (digits["seen"], digits["overlap"]) == ("training", {"training": 1437, "validation": 0})


def test_models_of_timm_can_be_evaluated_too(digit_folder):
    result = evaluate("mobilenetv2_050", "none", digit_folder, size=32, workers=0, model_kwargs={"num_classes": 10})
    assert result.images == 30


def predictions(network, images):
    with torch.inference_mode():
        return torch.cat([network(part).argmax(1) for part in images])


@pytest.mark.long
def test_every_form_and_export_predicts_the_same_classes(imagenet_sample, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from wavenet_zoo import export
    from wavenet_zoo.data.preprocessing import evaluation_transform, preprocessing_of
    from wavenet_zoo.deployment.exported import open_exported_file
    from wavenet_zoo.deployment.fold import fold
    from wavenet_zoo.weights.files import weights_bytes
    from wavenet_zoo.weights.loading import load_model
    from wavenet_zoo.weights.metadata import WeightsMetadata

    model, _ = load_model("waveletnet_x1", "none")
    transform = evaluation_transform(preprocessing_of(model))
    source = open_folder(imagenet_sample / "val", "val")
    images = [transform(source.load(i))[None] for i in range(len(source.targets))]
    assert len(images) == 100
    with torch.no_grad():  # statistics of real images: without them, random weights give every image the same class
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()(torch.cat(images))
    weights = tmp_path / "x1.safetensors"
    weights.write_bytes(weights_bytes(model.state_dict(), WeightsMetadata(model="waveletnet_x1")))
    expected = predictions(model.eval(), images)
    assert len(expected.unique()) > 10
    for form in ("dense", "split", "halves"):
        folded = fold(model, form).to(memory_format=torch.channels_last)
        assert torch.equal(predictions(folded, images), expected)
        assert torch.equal(predictions(folded, torch.cat(images).split(4)), expected)
        export("waveletnet_x1", "onnx", tmp_path / f"{form}.onnx", weights, form=form)
        exported = open_exported_file(tmp_path / f"{form}.onnx")[0]
        assert torch.equal(predictions(exported, torch.cat(images).split(16)), expected)
    plain, folded = (evaluate("waveletnet_x1", weights, imagenet_sample, fold=fold) for fold in (False, True))
    assert (plain.correct_top1, plain.correct_top5) == (folded.correct_top1, folded.correct_top5)
    result = evaluate(str(tmp_path / "halves.onnx"), data=imagenet_sample)
    assert (result.correct_top1, result.correct_top5) == (plain.correct_top1, plain.correct_top5)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_result_says_where_the_time_went(digit_folder, workers):
    result = evaluate("waveletnet_cifar_m1", data=digit_folder, workers=workers)
    assert result.form == "dense"
    assert 0 < result.time["model"] < result.seconds
    assert 0 < result.time["waiting"] < result.seconds
    assert result.time["decoding"] > 0
    if not workers:
        assert result.time["decoding"] <= result.time["waiting"]


@pytest.mark.parametrize(("form", "fold"), [("split", True), ("halves", True), ("factored", False), ("dense", False)])
def test_every_form_gives_the_same_counts(form, fold):
    result = evaluate(MODEL, form=form, fold=fold)
    stated = read_manifest()[f"{MODEL}.digits"]["results"]["digits/test"]
    assert (result.form, result.folded) == (form, fold)
    assert (result.correct_top1, result.correct_top5) == (stated["correct_top1"], stated["correct_top5"])
    assert result.loss == pytest.approx(stated["loss"], rel=1e-4)


def test_unknown_form_is_refused():
    with pytest.raises(WavezooError, match="unknown form 'splits'"):
        evaluate(MODEL, form="splits")


def test_form_that_requires_folding_is_refused_without_it():
    with pytest.raises(WavezooError, match="form 'split' requires folding"):
        evaluate(MODEL, form="split", fold=False)


def test_form_plain_is_a_deprecated_alias_of_no_fold(wavezoo):
    finished = wavezoo("eval", MODEL, "--form", "plain", "--json")
    assert finished.json["folded"] is False and finished.json["form"] == "factored"
    assert "--form plain is deprecated: use --no-fold" in finished.err


def test_random_weights_are_reported(caplog, small_digits):
    caplog.set_level("INFO", "wavenet_zoo")
    evaluate(MODEL, "none", small_digits, workers=0)
    assert "none: random weights (seed 0)" in caplog.text


def test_auto_form_is_refused_on_a_gpu(monkeypatch):
    monkeypatch.setattr("wavenet_zoo.runtime.distributed.choose_device", lambda name: torch.device("meta"))
    with pytest.raises(WavezooError, match="form 'auto' measures on the CPU"):
        evaluate(MODEL, form="auto")


@pytest.mark.reliability(12)
@pytest.mark.parametrize("workers", [0, 1])
def test_files_that_cannot_be_read_are_skipped_and_listed(digit_folder, tmp_path, monkeypatch, workers):
    val = digit_folder / "val"
    os.mkfifo(val / "3" / "pipe.png")
    (val / "3" / "gone.png").symlink_to("nowhere.png")
    Image.new("1", (1, 2_000_000)).save(val / "4" / "thin.png")
    (val / "5" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"not an image")
    predict = metrics._predict

    def predict_and_remove(*batch):  # an image that was listed and read
        (val / "0" / "0.png").unlink(missing_ok=True)
        return predict(*batch)

    monkeypatch.setattr(metrics, "_predict", predict_and_remove)
    with pytest.raises(WavezooError, match=r"3/gone.png: No such file or directory"):
        evaluate(MODEL, data=val, workers=workers)
    result = evaluate(MODEL, data=val, batch_size=64, workers=workers, size=64, skip_bad_images=True)
    names = [f"{val}/{name}" for name in ("3/gone.png", "3/pipe.png", "4/thin.png", "5/caf\\xe9.png")]
    assert result.skipped == names and result.images == 30
    append_csv(tmp_path / "results.csv", result.to_row())
    write_json(tmp_path / "result.json", result.to_dict())
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["skipped"] == names
