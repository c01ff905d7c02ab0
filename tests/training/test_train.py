import csv
import itertools
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from wavenet_zoo import WavezooError, evaluate, train
from wavenet_zoo.data.held_out import hold_out
from wavenet_zoo.data.image_hashes import hash_images
from wavenet_zoo.data.open import open_data
from wavenet_zoo.models import read_manifest
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.training import tensorboard
from wavenet_zoo.training.optim import build_optimizer, build_scheduler
from wavenet_zoo.training.tensorboard import TensorBoard
from wavenet_zoo.weights.loading import build_model

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
SHORT = ["schedule.epochs=2", "batch_size=25", "optimizer.lr=0.05"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def test_run_writes_recipe_logs_checkpoints_and_weights(digit_folder, out):
    run = train("digits", digit_folder, out, SHORT, workers=0)
    assert {path.name for path in out.iterdir()} == {
        ".lock", "best.pt", "checkpoints.json", "curve.png", "images.safetensors", "last.pt", "log.csv", "log.jsonl",
        "model.safetensors", "previous.pt", "recipe.yaml", "result.json", "run.json", "steps.jsonl",
    }  # fmt: skip
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2] and lines[-1] == run.last
    with (out / "log.csv").open() as file:
        assert [float(row["top1"]) for row in csv.DictReader(file)] == [line["top1"] for line in lines]
    assert load_recipe(out / "recipe.yaml") == load_recipe("digits", SHORT)
    assert json.loads((out / "result.json").read_text())["weights_sha256"] == run.weights_sha256
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_weights_of_a_run_evaluate_to_its_logged_metrics(digit_folder, out):
    run = train("digits", digit_folder, out, SHORT, workers=0)
    for weights in (out / "model.safetensors", out / "last.pt"):
        result = evaluate(run.model, weights, digit_folder, workers=0)
        assert result.top1 == run.last["top1"]
        assert result.loss == pytest.approx(run.last["loss"], rel=1e-5)
        assert result.weights["recipe"] == "digits"


@pytest.mark.long
def test_loss_decreases_on_digits(out):
    run = train("digits", None, out, ["schedule.epochs=2", "batch_size=32", "optimizer.lr=0.05"])
    losses = [json.loads(line)["train_loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert losses[1] < losses[0] < 2.3  # the logarithm of 10 classes
    assert run.last["top1"] > 30


def test_weights_do_not_depend_on_the_number_of_workers(digit_folder, tmp_path):
    runs = [train("digits", digit_folder, tmp_path / f"run{workers}", SHORT, workers=workers) for workers in (0, 2)]
    assert runs[0].last["train_loss"] == runs[1].last["train_loss"]
    assert runs[0].weights_sha256 == runs[1].weights_sha256
    other = train("digits", digit_folder, tmp_path / "other", [*SHORT, "seed=1"], workers=0)
    assert other.weights_sha256 != runs[0].weights_sha256


def test_checkpoints_load_with_weights_only_and_have_the_optimizer(digit_folder, out):
    train("digits", digit_folder, out, SHORT, workers=0)
    checkpoint = torch.load(out / "last.pt", weights_only=True)
    assert checkpoint["metadata"]["epoch"] == 2 and checkpoint["position"]["total_steps"] == 8
    assert checkpoint["optimizer"]["state"] and checkpoint["metadata"]["classes"] == list("0123456789")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["schedule.name=linear", "schedule.epochs=4"], [0.1, 0.075, 0.05, 0.025]),
        (["schedule.name=steps", "schedule.epochs=4", "schedule.milestones=[2, 3]"], [0.1, 0.1, 0.01, 0.001]),
        (["schedule.epochs=4", "schedule.warmup_epochs=2"], [0.025, 0.0625, 0.1, 0.05]),
    ],
)
def test_learning_rate_follows_the_schedule(digit_folder, out, overrides, expected):
    train("digits", digit_folder, out, ["batch_size=50", "optimizer.lr=0.1", *overrides], workers=0)
    rates = [json.loads(line)["lr"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["schedule.name=cosine", "schedule.epochs=4", "schedule.min_lr=0.02"], [0.1, 0.0882843, 0.06, 0.0317157]),
        (["schedule.name=constant", "schedule.epochs=2", "schedule.warmup_epochs=1"], [0.05, 0.1]),
        (["schedule.name=linear", "schedule.epochs=2", "schedule.min_lr=0.05"], [0.1, 0.075]),
    ],
)
def test_learning_rate_with_min_lr_and_warmup(digit_folder, out, overrides, expected):
    train("digits", digit_folder, out, ["batch_size=50", "optimizer.lr=0.1", *overrides], workers=0)
    rates = [json.loads(line)["lr"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert rates == pytest.approx(expected)


@pytest.mark.reliability(44)
@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_learning_rate_with_warm_up_is_continuous_and_reaches_its_peak(name):
    recipe = load_recipe("digits", [f"schedule.name={name}", "schedule.epochs=4", "schedule.warmup_epochs=2"])
    optimizer = build_optimizer(recipe, build_model("waveletnet_cifar_m1"))
    scheduler = build_scheduler(recipe, optimizer, steps_per_epoch=10)
    rates = []
    for step in range(40):
        scheduler.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    lr = recipe.optimizer.lr
    assert rates[0] == pytest.approx(lr / 20) and max(rates) == rates[20] == pytest.approx(lr)
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) < lr * 0.08
    assert rates[-1] < lr * 0.06 or name == "constant"


def test_ema_weights_are_exported_and_both_are_saved(digit_folder, out):
    run = train("digits", digit_folder, out, [*SHORT, "ema.decay=0.8"], workers=0)
    checkpoint = torch.load(out / "last.pt", weights_only=True)
    raw, ema = checkpoint["state_dict"], checkpoint["state_dict_ema"]
    with safe_open(out / "model.safetensors", framework="pt") as file:
        exported = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert all(torch.equal(exported[key], ema[key]) for key in ema)
    assert not torch.equal(raw["conv_stem.weight"], ema["conv_stem.weight"])
    assert run.last["raw_loss"] != run.last["loss"]
    for weights in (run.weights, out / "last.pt"):
        result = evaluate(run.model, weights, digit_folder, workers=0)
        assert result.weights["variant"] == "ema" and result.loss == pytest.approx(run.last["loss"], rel=1e-5)


def test_the_parts_of_a_step_add_up_to_the_step(digit_folder, tmp_path):
    # layer norm: batch norm would see the parts
    overrides = ["schedule.epochs=1", "batch_size=20", "optimizer.lr=1e-3", "model.kwargs.norm_layer=layernorm2d"]
    runs = []
    for parts in (1, 5):
        folder = tmp_path / str(parts)
        train("digits", digit_folder, folder, [*overrides, f"accumulation={parts}"], workers=0)
        losses = [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]
        runs.append((losses, load_file(folder / "model.safetensors")))
    (losses, weights), (losses_of_parts, weights_of_parts) = runs
    assert len(losses) == 5 and losses_of_parts == pytest.approx(losses, rel=1e-5)
    for key, tensor in weights.items():
        torch.testing.assert_close(weights_of_parts[key], tensor, rtol=1e-4, atol=1e-6)


def test_training_loss_is_the_mean_of_the_logged_steps(digit_folder, out):
    train("digits", digit_folder, out, SHORT, workers=0)
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 9))
    for line in (out / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        losses = [step["loss"] for step in steps if step["epoch"] == record["epoch"]]
        assert (
            record["train_loss"] == pytest.approx(sum(losses) / 4) and record["lr"] == steps[record["step"] - 4]["lr"]
        )


def test_gradient_clipping_bounds_every_step(digit_folder, out):
    train("digits", digit_folder, out, [*SHORT, "optimizer.lr=1", "optimizer.clip_grad=1e-6",
          "optimizer.weight_decay=0", "optimizer.momentum=0", "schedule.epochs=1"], workers=0)  # fmt: skip
    torch.manual_seed(0)
    fresh = build_model("waveletnet_cifar_m1", num_classes=10)
    trained = torch.load(out / "last.pt", weights_only=True)["state_dict"]
    moved = sum((trained[key] - value).square().sum() for key, value in fresh.named_parameters()).sqrt()
    assert 0 < moved < 4.5e-6  # four steps of 1e-6 at most


def test_tensorboard_events_equal_the_logs(digit_folder, out):
    board = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    train("digits", digit_folder, out, SHORT, workers=0, tensorboard=True)
    events = board.EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx([step["loss"] for step in steps])
    assert [event.step for event in events.Scalars("validation/top1")] == [4, 8]


@pytest.mark.reliability(6, 48)
def test_full_disk_under_tensorboard_ends_the_events_not_the_run(digit_folder, out, tmp_path, disk, fill, caplog):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    plain = train("digits", digit_folder, tmp_path / "plain", SHORT, workers=0)
    full = disk()
    fill(full)

    class OnTheFullDisk(TensorBoard):
        def __init__(self, file, after_step):
            super().__init__((full / "events").open("wb", buffering=0), after_step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboard, "TensorBoard", OnTheFullDisk)
        run = train("digits", digit_folder, out, SHORT, workers=0, tensorboard=True)
    assert run.weights_sha256 == plain.weights_sha256
    warnings = [record for record in caplog.records if "TensorBoard events end" in record.getMessage()]
    assert len(warnings) == 1 and "No space left on device" in warnings[0].getMessage()


@pytest.mark.reliability(48)
def test_curve_that_cannot_be_drawn_is_a_warning(digit_folder, out, monkeypatch, caplog):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *args, **kwargs: 1 / 0)
    train("digits", digit_folder, out, SHORT, workers=0)
    assert "curve.png: not drawn: division by zero" in caplog.text
    assert (out / "result.json").exists() and not (out / "curve.png").exists()


@pytest.mark.reliability(21)
def test_weights_that_are_not_finite_are_in_no_checkpoint(digit_folder, out, monkeypatch):
    import wavenet_zoo.training.train as module

    validate = module._validate

    def validate_and_damage(trainer, model):
        metrics = validate(trainer, model)
        with torch.no_grad():
            next(iter(trainer.training.model.parameters()))[0] = float("inf")
        return metrics

    monkeypatch.setattr(module, "_validate", validate_and_damage)
    with pytest.raises(WavezooError, match="weights are not finite") as error:
        train("digits", digit_folder, out, SHORT, workers=0)
    assert error.value.exit_code == 4 and not (out / "best.pt").exists()


def test_missing_tensorboard_is_reported_before_the_run(digit_folder, out, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(WavezooError, match=r"pip install tensorboard"):
        train("digits", digit_folder, out, SHORT, tensorboard=True)
    assert not out.exists()


def test_timm_optimizers_train(digit_folder, out):
    for name in ("lion", "lamb", "sgd"):
        overrides = ["schedule.epochs=1", "batch_size=50", f"optimizer.name={name}", "optimizer.lr=1e-3"]
        assert train("digits", digit_folder, out / name, overrides, workers=0).last["train_loss"] < 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=101"], "only 100 training images .--set batch_size=100"),
        (["batch_size=50", "accumulation=3"], "not divisible by accumulation 3"),
        (["batch_size=25", "augmentation.mixup=0.2"], "an even number of images per process and part, got 25"),
        (
            ["batch_size=50", "model.name=vgg16", "regularization.drop_path=0.1"],
            "cannot be built with drop_path_rate=0.1",
        ),
        (["batch_size=50", "sync_bn=true"], "sync_bn is supported on CUDA devices only"),
        (["batch_size=50", "optimizer.name=sgd", "optimizer.betas=[0.9, 0.99]"], "optimizer.betas: 'sgd' has no betas"),
    ],
)
def test_incompatible_recipe_values_are_one_line(digit_folder, out, overrides, message):
    with pytest.raises(WavezooError, match=message):
        train("digits", digit_folder, out, overrides, workers=0)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(WavezooError, match=message):
        train("digits", digit_folder, out, overrides, workers=0)
    assert out.is_dir() and not list(out.iterdir())  # an empty folder of the user is unchanged


def test_bf16_and_contiguous_format_train(digit_folder, out):
    run = train("digits", digit_folder, out, [*SHORT, "precision=bf16", "channels_last=false"], workers=0)
    assert run.last["train_loss"] < 3
    assert yaml.safe_load((out / "recipe.yaml").read_text())["precision"] == "bf16"


def test_weights_without_dfwt_are_evaluated_without_it(digit_folder, out):
    run = train("digits", digit_folder, out, [*SHORT, "model.kwargs.use_dfwt=false"], workers=0)
    result = evaluate(run.model, run.weights, digit_folder, workers=0)
    assert result.top1 == run.last["top1"] and result.weights["model_kwargs"] == {"use_dfwt": False}


def test_metadata_names_the_data_and_no_path(digit_folder, out):
    run = train("digits", digit_folder, out, SHORT, workers=0)
    with safe_open(run.weights, framework="pt") as file:
        header = file.metadata()["wavenet_zoo"]
    assert json.loads(header)["data"] == "digit-images"
    assert str(digit_folder.parent) not in header


@pytest.mark.long
def test_run_starts_from_pretrained_weights_and_records_them(out, tmp_path):
    still = ["schedule.epochs=1", "optimizer.lr=1e-9"]
    run = train("digits", None, out, [*still, "model.pretrained=digits"], workers=0)
    shipped = read_manifest()["waveletnet_cifar_m1.digits"]
    assert json.loads((out / "run.json").read_text())["pretrained"] == {
        "name": "waveletnet_cifar_m1.digits",
        "sha256": shipped["sha256"],
    }
    assert run.last["top1"] > 95  # the same classes: the classifier is theirs too
    again = train("digits", None, tmp_path / "file", [*still, f"model.pretrained={run.weights}"], workers=0)
    assert again.last["top1"] > 95
    assert json.loads((tmp_path / "file" / "run.json").read_text())["pretrained"]["sha256"] == run.weights_sha256


def test_pretrained_weights_of_other_classes_get_a_seeded_classifier(digit_folder, out):
    for digit in range(3, 10):
        for split in ("train", "val"):
            shutil.rmtree(digit_folder / split / str(digit))
    plan = ["schedule.epochs=1", "batch_size=30", "optimizer.lr=1e-9", "model.pretrained=digits"]
    runs = [train("digits", digit_folder, out / f"{i}", [*plan, f"seed={i // 2}"], workers=0) for i in range(3)]
    one, same, other = (load_file(run.weights) for run in runs)
    shipped = load_file(read_manifest()["waveletnet_cifar_m1.digits"]["path"])
    assert torch.allclose(one["conv_stem.weight"], shipped["conv_stem.weight"], atol=1e-5)
    assert one["classifier.weight"].shape[0] == 3
    assert torch.equal(one["classifier.weight"], same["classifier.weight"])
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_invalid_pretrained_weights_are_named_before_the_run(digit_folder, out, tmp_path):
    for value, message in (
        ("digitz", "has no weights 'digitz' .did you mean 'digits'"),
        (tmp_path / "nowhere.safetensors", "nowhere.safetensors: weights file not found"),
    ):
        with pytest.raises(WavezooError, match=message):
            train("digits", digit_folder, out, [*SHORT, f"model.pretrained={value}"], workers=0)
    without = train("digits", digit_folder, tmp_path / "without", [*SHORT, "model.kwargs.use_dfwt=false"], workers=0)
    with pytest.raises(WavezooError, match=r"trained with {'use_dfwt': False}, which are missing"):
        train("digits", digit_folder, out, [*SHORT, f"model.pretrained={without.weights}"], workers=0)
    assert not out.exists()
    both = [f"model.pretrained={without.weights}", "model.kwargs.use_dfwt=false"]
    assert train("digits", digit_folder, out, [*SHORT, *both], workers=0).last["epoch"] == 2


@pytest.mark.reliability(21)
def test_loss_that_is_not_finite_stops_the_run(digit_folder, out):
    with pytest.raises(WavezooError, match=r"the training loss is .* in epoch 1"):
        train("digits", digit_folder, out, [*SHORT, "optimizer.lr=1e30"], workers=0)
    assert not (out / "model.safetensors").exists()


@pytest.mark.reliability(11)
def test_bad_training_image_is_named(digit_folder, out):
    bad = digit_folder / "train" / "5" / "3.png"
    bad.write_bytes(b"")
    with pytest.raises(WavezooError, match=r"5/3.png"):
        train("digits", digit_folder, out, SHORT, workers=0)


@pytest.mark.reliability(7)
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda out: (out.mkdir(), (out / "something").touch()), "contains files that are not of a run"),
        (lambda out: out.touch(), "cannot be used for a run"),
        (lambda out: out.parent.joinpath("run").symlink_to("/dev/null"), "cannot be used for a run"),
    ],
)
def test_invalid_output_folder_is_refused_before_training(digit_folder, out, prepare, message):
    prepare(out)
    with pytest.raises(WavezooError, match=message):
        train("digits", digit_folder, out, SHORT)


@pytest.mark.reliability(17)
def test_data_with_one_split_is_refused(digit_folder, out):
    with pytest.raises(WavezooError, match="training requires two splits"):
        train("digits", digit_folder / "val", out, SHORT)
    assert not out.exists()


def test_validation_class_without_training_images_is_named(digit_folder, out):
    shutil.copytree(digit_folder / "val" / "0", digit_folder / "val" / "zebra")
    with pytest.raises(WavezooError, match="class 'zebra' of the validation images has no training images"):
        train("digits", digit_folder, out, SHORT, workers=0)
    assert not out.exists()


def test_validation_split_that_a_fraction_ignores_is_reported(digit_folder, out, caplog):
    overrides = ["schedule.epochs=1", "batch_size=25", "data.validation=0.2"]
    train("digits", digit_folder, out, overrides, workers=0)
    assert "the split 'val' is not used, as data.validation is a fraction" in caplog.text
    caplog.clear()
    train("digits", digit_folder / "train", out.parent / "flat", overrides, workers=0)
    assert "is not used" not in caplog.text


def test_validation_split_that_is_not_used_need_not_be_readable(digit_folder, out):
    shutil.rmtree(digit_folder / "val")
    (digit_folder / "val" / "empty").mkdir(parents=True)
    run = train("digits", digit_folder, out, ["schedule.epochs=1", "batch_size=25", "data.validation=0.2"], workers=0)
    assert run.epochs == 1


@pytest.mark.reliability(16, 17, 40)
@pytest.mark.parametrize("kind", ["copy", "link", "tar", "two tars"])
def test_same_images_in_both_parts_are_reported(digit_folder, out, tmp_path, kind, caplog):
    data = digit_folder
    if kind in ("copy", "link"):
        shutil.rmtree(data / "val")
        make = shutil.copytree if kind == "copy" else lambda source, target: target.symlink_to(source)
        make(data / "train", data / "val")
    else:
        shutil.make_archive(str(tmp_path / "images"), "tar", data / "train")
        data = tmp_path / "images.tar"
        if kind == "two tars":
            for part in ("train", "val"):
                (tmp_path / "tars").mkdir(exist_ok=True)
                shutil.copy(data, tmp_path / "tars" / f"{part}.tar")
            data = tmp_path / "tars"
    if kind == "tar":
        with pytest.raises(WavezooError, match="training requires two splits"):
            train("digits", data, out, SHORT)
        assert not out.exists()
    else:
        train("digits", data, out, ["schedule.epochs=1", "batch_size=25"], workers=0)
        assert "100 of 100 validation images are also training images" in caplog.text


def test_recipe_that_validates_on_test_uses_val_where_no_test_is(digit_folder, out):
    assert load_recipe("digits").data.validation == "test" and not (digit_folder / "test").exists()
    train("digits", digit_folder, out, ["schedule.epochs=1", "batch_size=25"], workers=0)
    assert json.loads((out / "run.json").read_text())["validation_images"] == 30


@pytest.mark.parametrize(("seed", "batch_size", "workers", "cache_images"), [(0, 25, 0, False), (1, 30, 2, True)])
def test_held_out_images_are_validated_on_and_not_trained_on(
    digit_folder, out, caplog, seed, batch_size, workers, cache_images
):
    shutil.rmtree(digit_folder / "val")
    caplog.set_level("INFO", "wavenet_zoo")
    overrides = ["data.validation=0.2", "schedule.epochs=1", f"batch_size={batch_size}", f"seed={seed}"]
    run = train("digits", digit_folder, out, overrides, workers=workers, cache_images=cache_images)
    assert "80 training images, 20 validation images: 20 % of train, held out" in caplog.text
    record = json.loads((out / "run.json").read_text())
    assert (record["training_images"], record["validation_images"]) == (80, 20)
    assert record["validation_split"] == "20 % of train"
    hashes = load_file(out / "images.safetensors")
    expected = [hash_images(part) for part in hold_out(open_data(digit_folder, "train"), 0.2)]
    for name, own in zip(("training", "validation"), expected):
        assert hashes[name].tolist() == sorted(own.tolist())
    result = evaluate(run.model, out, digit_folder, split="0.2", workers=0)
    assert result.top1 == run.last["top1"] and result.loss == pytest.approx(run.last["loss"], rel=1e-5)
    assert result.data["overlap"] == {"training": 0, "validation": 20} and result.data["seen"] == "validation"


def test_digits_are_held_out_of_the_training_split(out):
    train("digits", None, out, ["data.validation=0.1", "schedule.epochs=1", "batch_size=600"], workers=0)
    record = json.loads((out / "run.json").read_text())
    assert (record["training_images"], record["validation_images"]) == (1294, 143)


@pytest.mark.parametrize("layout", ["train", "flat"])
@pytest.mark.parametrize("validation", ["val", "test"])
def test_missing_validation_split_recommends_a_fraction(digit_folder, out, layout, validation):
    shutil.rmtree(digit_folder / "val")
    data = digit_folder / "train" if layout == "flat" else digit_folder
    with pytest.raises(WavezooError) as error:
        train("digits", data, out, [*SHORT, f"data.validation={validation}"], workers=0)
    assert "--set data.validation=0.1 to hold out 10 % of train" in error.value.hint
    assert not out.exists()


def test_too_few_images_for_a_batch_name_the_largest_batch_size(digit_folder, out):
    with pytest.raises(WavezooError, match="batch_size is 32, but there are only 20 training images") as error:
        train("finetune", digit_folder / "val", out, ["data.validation=0.01"], workers=0)
    assert error.value.hint == "--set batch_size=20"


def test_unreachable_initial_weights_name_the_recipe_key(small_digits, out, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("cannot be reached (check the connection, or pass --weights FILE)")

    monkeypatch.setattr("wavenet_zoo.weights.loading.check_reachable", refuse)
    values = ["model.name=mobilenetv2_100", "model.pretrained=ra_in1k"]
    with pytest.raises(WavezooError) as error:
        train("finetune", small_digits, out, values, workers=0)
    assert "or --set model.pretrained=FILE" in str(error.value) and "--weights" not in str(error.value)


def test_unknown_optimizer_gets_the_closest_name(digit_folder, out):
    with pytest.raises(WavezooError, match=r"timm has no optimizer 'momentun' .did you mean 'momentum'"):
        train("digits", digit_folder, out, ["optimizer.name=momentun"])
    assert not out.exists()


@pytest.mark.reliability(16)
def test_validation_classes_must_match_the_training_classes(digit_folder, out):
    (digit_folder / "val" / "3").rename(digit_folder / "val" / "three")
    with pytest.raises(WavezooError, match="'three'"):
        train("digits", digit_folder, out, SHORT)


def test_form_is_recorded_and_a_changed_form_is_reported(digit_folder, tmp_path, caplog):
    settings = dict(recipe_path="digits", data=digit_folder, overrides=["schedule.epochs=1", "batch_size=16"])
    dense = train(out=tmp_path / "dense", **settings)
    factored = train(out=tmp_path / "factored", form="factored", **settings)
    assert json.loads((tmp_path / "dense" / "run.json").read_text())["form"] == "dense"
    assert json.loads((tmp_path / "factored" / "run.json").read_text())["form"] == "factored"
    first = [json.loads(Path(run.out, "steps.jsonl").read_text().splitlines()[0])["loss"] for run in (dense, factored)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)
    caplog.set_level("INFO", "wavenet_zoo")
    (tmp_path / "factored" / "result.json").unlink()
    train(out=tmp_path / "factored", **settings)
    assert "form factored, now dense" in caplog.text


@pytest.mark.parametrize(
    ("form", "message"),
    [("split", r"requires folding \(for training use factored or dense"), ("plan", "unknown form 'plan'")],
)
def test_form_that_cannot_be_trained_is_refused(digit_folder, out, form, message):
    with pytest.raises(WavezooError, match=message):
        train("digits", digit_folder, out, SHORT, workers=0, form=form)
    assert not out.exists()
