import json
import lzma
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wavenet_zoo import WavezooError, compare, evaluate
from wavenet_zoo.evaluation.comparison_plot import plot_comparison
from wavenet_zoo.evaluation.evaluate import PreparedEvaluation
from wavenet_zoo.evaluation.paired import difference_interval, holm, mcnemar
from wavenet_zoo.evaluation.saved_predictions import read_predictions, write_predictions
from wavenet_zoo.weights.files import weights_bytes
from wavenet_zoo.weights.loading import load_model

MODEL = "waveletnet_cifar_m1"
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module")
def worked_case(tmp_path_factory) -> Path:
    """Predictions of ``waveletnet_x1.tiny_in200`` for the 10,000 validation images of Tiny-ImageNet, in fp32 and int8.

    ``wavezoo export waveletnet_x1 --to onnx`` (form dense) is ``fp32``. ``int8`` is quantized by onnxruntime's
    quantize_static: QDQ, per channel, activations uint8, weights int8, MinMax over every 781st training image (128),
    Conv and Gemm except the first and the grouped convolutions; ``int8-reduced`` with ``reduce_range=True``. Evaluated
    with onnxruntime 1.32 on a CPU without VNNI, where sums of two products saturate at 16 bits unless the range of the
    weights is reduced. Written by ``write_predictions``; all but the best class was removed, and probabilities and
    losses were rounded, to keep the files small.
    """
    folder = tmp_path_factory.mktemp("worked-case")
    for file in (Path(__file__).parent / "data").glob("*.csv.xz"):
        (folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
    return folder


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> Path:
    """Weights of the shipped digits model with noise: a different model."""
    torch.manual_seed(0)
    model, weights = load_model(MODEL)
    state = {
        name: value + 0.4 * value.std() * torch.randn_like(value) if value.dim() == 4 else value
        for name, value in model.state_dict().items()
    }
    file = tmp_path_factory.mktemp("noisy") / "noisy.safetensors"
    file.write_bytes(weights_bytes(state, weights.metadata))
    return file


def save(path: Path, correct: str, labels: str = "", paths: list[str] | None = None) -> Path:
    """Save predictions of classes a, b and c: ``correct`` has 1 for a correct image, 0 or 2 for two wrong classes."""
    labels = labels or "a" * len(correct)
    lines = ["path,label,prediction,correct,probability_of_label,loss,class_1,probability_1,correct_top5"]
    for i, (flag, label) in enumerate(zip(correct, labels)):
        predicted = "abc"[("abc".index(label) + int(flag) - 1) % 3]
        image = paths[i] if paths else f"{i}.png"
        lines.append(f"{image},{label},{predicted},{int(flag == '1')},0.5,0.7,{predicted},0.5,1")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_worked_case_saturating_int8_is_worse_than_fp32(worked_case):
    result = compare([worked_case / "fp32.csv", worked_case / "int8.csv"])
    (pair,) = result.pairs
    assert [model.correct for model in result.models] == [2929, 2826] and result.images == 10_000
    assert result.models[0].interval[0] < result.models[1].interval[1]  # their intervals overlap
    assert (pair.only_a, pair.only_b) == (392, 289) and pair.difference == pytest.approx(-1.03)
    assert round(pair.p, 4) == 0.0001 and pair.is_significant
    assert pair.interval == pytest.approx((-1.541, -0.518), abs=0.001)
    assert pair.possible_drop == -pair.interval[0]


def test_worked_case_int8_with_reduced_range_equals_fp32(worked_case):
    (pair,) = compare([worked_case / "fp32.csv", worked_case / "int8-reduced.csv"]).pairs
    assert (pair.only_a, pair.only_b, pair.p) == (91, 92, 1.0) and not pair.is_significant
    standard_error = (pair.interval[1] - pair.interval[0]) / (2 * 1.96)
    assert (pair.difference, standard_error) == pytest.approx((0.01, 0.135), abs=0.001)


def test_p_values_of_several_models_are_corrected_for_their_number(worked_case):
    result = compare([worked_case / name for name in ("fp32.csv", "int8.csv", "int8-reduced.csv")])
    names = [(pair.a, pair.b) for pair in result.pairs]
    assert names == [("fp32", "int8"), ("fp32", "int8-reduced"), ("int8", "int8-reduced")]
    assert [pair.p_holm for pair in result.pairs] == holm([pair.p for pair in result.pairs])
    assert result.pairs[0].p_holm == pytest.approx(3 * result.pairs[0].p)
    assert [pair.b for pair in result.baseline_pairs] == ["int8", "int8-reduced"]


def test_swapping_the_models_mirrors_the_pair(worked_case):
    (pair,) = compare([worked_case / "fp32.csv", worked_case / "int8.csv"]).pairs
    (swapped,) = compare([worked_case / "int8.csv", worked_case / "fp32.csv"]).pairs
    assert (swapped.only_a_paths, swapped.only_b_paths) == (pair.only_b_paths, pair.only_a_paths)
    assert (swapped.difference, swapped.p, swapped.agreement) == (-pair.difference, pair.p, pair.agreement)
    assert swapped.interval == pytest.approx((-pair.interval[1], -pair.interval[0]))


def test_counts_agreement_and_paths_by_hand(tmp_path):
    a, b = save(tmp_path / "a.csv", "11110000", "aabbccab"), save(tmp_path / "b.csv", "10111120", "aabbccab")
    result = compare([a, b])
    (pair,) = result.pairs
    assert (pair.only_a_paths, pair.only_b_paths) == (["1.png"], ["4.png", "5.png"])
    assert (pair.only_a, pair.only_b, pair.difference, pair.agreement) == (1, 2, 12.5, 50)
    assert (pair.p, pair.interval) == (mcnemar(1, 2), difference_interval(1, 2, 8))
    counts = {c.name: (c.images, c.correct) for c in result.per_class}
    assert counts == {"a": (3, [2, 1]), "b": (3, [2, 2]), "c": (2, [0, 2])}
    assert [c.name for c in result.most_different_classes(1, 5)] == ["c", "a"]
    assert [c.name for c in result.most_different_classes(1, 1)] == ["c"]


def test_order_of_the_images_does_not_matter(worked_case, tmp_path):
    header, *rows = (worked_case / "int8.csv").read_text(encoding="utf-8").splitlines()
    shuffled = np.random.default_rng(0).permutation(rows)
    (tmp_path / "int8.csv").write_text("\n".join([header, *shuffled]), encoding="utf-8")
    expected, result = (compare([worked_case / "fp32.csv", folder / "int8.csv"]) for folder in (worked_case, tmp_path))
    assert result.pairs == expected.pairs and result.per_class == expected.per_class
    for field in ("labels", "top", "loss", "correct"):
        first, second = (getattr(r.models[1].predictions, field) for r in (expected, result))
        assert (first == second).all(), field


def test_models_are_evaluated_on_the_same_images(noisy, tmp_path):
    result = compare([MODEL, noisy], "digits", progress=False)
    clean, other = result.models
    assert [model.name for model in result.models] == [MODEL, "noisy.safetensors"]
    assert clean.evaluation.correct_top1 == clean.correct > other.correct and result.images == 360
    assert clean.interval == clean.evaluation.top1_interval and "noisy.safetensors" in other.weights
    (pair,) = result.pairs
    wrong = {path for path, right in zip(other.predictions.paths, other.predictions.correct) if not right}
    assert set(pair.only_a_paths) <= wrong and pair.difference == pytest.approx(other.top1 - clean.top1)
    write_predictions(tmp_path / "noisy.jsonl", other.evaluation.predictions)
    (mixed,) = compare([MODEL, tmp_path / "noisy.jsonl"], "digits").pairs
    assert replace(mixed, b=pair.b) == pair


def test_result_is_json_without_the_arrays(noisy, tmp_path):
    save(tmp_path / "a.csv", "10")
    values = json.loads(json.dumps(compare([tmp_path / "a.csv", tmp_path / "a.csv"]).to_dict()))
    assert set(values) == {"images", "confidence", "models", "pairs", "per_class"}
    assert set(values["models"][0]) == {"name", "weights", "top1", "interval", "correct", "evaluation"}
    evaluated = json.loads(json.dumps(compare([MODEL, noisy]).to_dict()))["models"][0]["evaluation"]
    assert evaluated["preprocessing"]["input_size"] == [3, 32, 32] and "predictions" not in evaluated


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["x/a.csv", "b.csv"], ["a", "b"]),
        (["a.csv", "a.jsonl"], ["a.csv", "a.jsonl"]),
        (["x/a.csv", "y/a.csv", "b.csv"], ["{}/x/a.csv", "{}/y/a.csv", "b"]),
        (["a.csv", "a.csv"], ["{}/a.csv (1)", "{}/a.csv (2)"]),
    ],
)
def test_models_of_equal_names_are_distinguished(tmp_path, files, names):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        save(tmp_path / "p.csv", "10")
        write_predictions(tmp_path / file, read_predictions(tmp_path / "p.csv"))
    result = compare([tmp_path / file for file in files])
    assert [model.name for model in result.models] == [name.format(tmp_path) for name in names]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (dict(correct="11"), r"a.csv and .*b.csv: their images differ .3 and 2.: '2.png' is only in .*a.csv"),
        (dict(correct="1111"), r"their images differ .3 and 4.: '3.png' is only in .*b.csv"),
        (dict(correct="111", paths=["0.png", "x", "y"]), r"their images differ .3 and 3.: '1.png' is only in .*a.csv"),
        (dict(correct="111", labels="aba"), r"their labels differ: '1.png' is 'a' in the first and 'b' in the second"),
    ],
)
def test_first_difference_of_images_or_labels_is_named(tmp_path, other, expected):
    a, b = save(tmp_path / "a.csv", "110"), save(tmp_path / "b.csv", **other)
    with pytest.raises(WavezooError, match=expected):
        compare([a, b])


def test_predictions_on_other_data_are_refused_after_the_evaluation(tmp_path, small_digits):
    file = save(tmp_path / "a.csv", "110")
    with pytest.raises(WavezooError, match=r"a.csv and waveletnet_cifar_m1: their images differ .3 and 30."):
        compare([MODEL, file], small_digits, workers=0)


def test_images_that_are_skipped_are_skipped_for_all_models(noisy, digit_folder):
    (digit_folder / "val" / "3" / "1.png").write_bytes(b"not an image")
    with pytest.raises(WavezooError, match=r"3/1.png"):
        compare([MODEL, noisy], digit_folder, workers=0)
    result = compare([MODEL, noisy], digit_folder, workers=0, skip_bad_images=True)
    assert result.images == 29 and all("3/1.png" not in model.predictions.paths for model in result.models)


def test_a_single_model_is_refused():
    with pytest.raises(WavezooError, match="requires at least two models, got 1"):
        compare([MODEL])


@pytest.mark.parametrize("missing", ["no_such_model", "gone.onnx", "gone.csv", "gone.safetensors", "hf-hub:"])
def test_missing_model_is_refused_before_the_first_evaluation(monkeypatch, missing):
    monkeypatch.setattr(
        "wavenet_zoo.evaluation.compare.prepare_evaluation", lambda *args, **kwargs: pytest.fail("evaluated")
    )
    with pytest.raises(WavezooError, match=missing):
        compare([MODEL, missing])


def test_weights_are_those_of_the_models_given_by_name(noisy):
    result = compare([MODEL, noisy], weights=noisy)
    assert result.pairs[0].agreement == 100 and result.pairs[0].interval[1] < 1
    assert [model.evaluation.weights["name"] for model in result.models] == [str(noisy), str(noisy)]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot_shows_every_pair_and_the_allowed_loss(tmp_path, suffix):
    files = [save(tmp_path / f"{name}.csv", "10" * 20) for name in (r"$\frac$", "b_{2}", "c" * 60)]
    result = compare(files)
    plot_comparison(tmp_path / f"forest{suffix}", result, max_drop=0.5)
    assert (tmp_path / f"forest{suffix}").stat().st_size > 5000
    if suffix == ".svg":
        text = (tmp_path / f"forest{suffix}").read_text(encoding="utf-8")
        assert all(part in text for part in (r"$\frac$", "b_{2}", "c" * 39 + "…", "allowed loss, 0.5 points"))


def quantize(source: Path, target: Path, reduce_range: bool, count: int = 64) -> Path:
    """Quantize an exported file to int8 with training images of the digits, as ``worked_case`` says."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    from wavenet_zoo.data.digits import open_digits
    from wavenet_zoo.data.preprocessing import evaluation_transform
    from wavenet_zoo.deployment.exported import open_exported_file

    transform = evaluation_transform(open_exported_file(source)[2].preprocessing)
    digits = open_digits("train")

    class Reader:
        images = iter([{"images": transform(digits.load(i))[None].numpy()} for i in range(count)])

        def get_next(self):
            return next(self.images, None)

    convolutions = [node for node in onnx.load(source).graph.node if node.op_type == "Conv"]
    grouped = [node.name for node in convolutions if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    quantize_static(
        str(source), str(target), Reader(), QuantFormat.QDQ, ["Conv", "Gemm", "MatMul"], per_channel=True,
        reduce_range=reduce_range, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        nodes_to_exclude=[convolutions[0].name, *grouped],
    )  # fmt: skip
    return target


@pytest.mark.long
def test_int8_files_are_compared_with_the_exported_model(tmp_path, wavezoo):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from wavenet_zoo import export

    fp32 = tmp_path / "fp32.onnx"
    export(MODEL, "onnx", fp32)
    int8 = quantize(fp32, tmp_path / "int8.onnx", reduce_range=False)
    reduced = quantize(fp32, tmp_path / "reduced.onnx", reduce_range=True)
    finished = wavezoo("compare", MODEL, fp32, int8, reduced, "--data", "digits", "--form", "halves", "--json")
    assert finished.code == 0, finished.err
    models, pairs = finished.json["models"], finished.json["pairs"]
    assert [model["name"] for model in models] == [MODEL, "fp32.onnx", "int8.onnx", "reduced.onnx"]
    assert [model["evaluation"]["form"] for model in models] == ["halves", "dense", "dense", "dense"]
    same = pairs[0]
    assert (same["agreement"], same["p"], same["only_a"], same["only_b"]) == (100, 1, 0, 0)
    assert all(pair["agreement"] > 95 for pair in pairs), "int8 predicts nearly the same"
    assert len({model["evaluation"]["weights"]["sha256"] for model in models}) == 4
    gate = wavezoo("compare", fp32, reduced, "--data", "digits", "--max-drop", "0.1")
    assert gate.code == 3 and "more than --max-drop 0.1" in gate.err  # 360 images cannot show so little
    assert wavezoo("compare", fp32, reduced, "--data", "digits", "--max-drop", "5", "-q").code == 0


def test_predictions_that_are_scored_differently_are_refused(digit_folder, tmp_path):
    for name in "0123456":
        shutil.rmtree(digit_folder / "val" / name)
    files = []
    for among in ("all", "data"):
        files.append(tmp_path / f"{among}.csv")
        write_predictions(files[-1], evaluate(MODEL, None, digit_folder, workers=0, among=among).predictions)
    with pytest.raises(WavezooError, match="are scored differently: 'all' and 'data'"):
        compare(files)
    with pytest.raises(WavezooError, match="are scored differently: 'data' and 'all'"):
        compare([files[1], MODEL], digit_folder, workers=0)


def test_models_are_checked_before_the_first_is_evaluated(monkeypatch, small_digits):
    monkeypatch.setattr(PreparedEvaluation, "run", lambda self: pytest.fail("evaluated"))
    with pytest.raises(WavezooError, match="200 classes and the data has 10"):
        compare([MODEL, "waveletnet_x1"], small_digits, workers=0)
    with pytest.raises(WavezooError, match="expected a sequence"):
        compare("ab")
