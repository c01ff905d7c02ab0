import lzma
from pathlib import Path

import pytest

from wavenet_zoo import compare

MODEL = "waveletnet_cifar_m1"
FIXTURES = Path(__file__).parent.parent / "evaluation" / "data"


@pytest.fixture
def predictions(tmp_path):
    """The worked case of tests/evaluation/test_compare.py, in the working directory."""
    for file in FIXTURES.glob("*.csv.xz"):
        (tmp_path / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
    return [tmp_path / name for name in ("fp32.csv", "int8.csv", "int8-reduced.csv")]


def test_table_shows_models_pairs_classes_and_a_conclusion(wavezoo, predictions):
    finished = wavezoo("compare", *predictions, "--classes", "2")
    assert finished.code == 0 and not finished.err
    lines = [" ".join(line.split()) for line in finished.out.splitlines()]
    assert any(line.startswith("fp32 ") and line.endswith("29.29 28.41 to 30.19 2,929 10,000") for line in lines)
    assert "fp32 int8 -1.03 -1.54 to -0.52 9e-05 0.0003 74.4 392 289" in lines
    assert "fp32 int8-reduced +0.01 -0.26 to +0.28 1.0000 1.0000 93.2 91 92" in lines
    assert sum(line.startswith("n0") for line in lines) == 4  # two classes for each of two models
    assert "class, B is int8-reduced images A correct B correct difference" in lines
    assert (
        "int8 against fp32 top-1 is lower by 1.03 points; 95 % interval -1.54 to -0.52 points; p = 0.0003 after "
        "Holm's correction for 3 pairs" in lines
    )
    assert not any(line.startswith("int8-reduced against int8") for line in lines)
    assert any(line.startswith("int8-reduced against fp32 no significant difference in top-1") for line in lines)


def test_two_models_have_no_column_of_corrected_p_values(wavezoo, predictions):
    text = wavezoo("compare", *predictions[:2], "--classes", "0").out
    assert "Holm" not in text and "class" not in text


def test_json_is_the_result_of_the_function(wavezoo, predictions):
    finished = wavezoo("compare", *predictions, "--json")
    expected = compare(predictions).to_dict()
    assert finished.json["pairs"][0]["only_a_paths"] == expected["pairs"][0]["only_a_paths"]
    assert finished.json["per_class"] == expected["per_class"]


def test_plot_is_written_and_checked_before_the_work(wavezoo, predictions, tmp_path):
    finished = wavezoo("compare", *predictions, "--plot", "forest.png", "-q")
    assert finished.code == 0 and (tmp_path / "forest.png").read_bytes().startswith(b"\x89PNG")
    finished = wavezoo("compare", "gone.csv", "gone.csv", "--plot", "forest.gif")
    assert finished.code == 2 and "format of a figure" in finished.err


@pytest.mark.parametrize(("allowed", "code"), [("1.55", 0), ("1.53", 3)])
def test_max_drop_is_compared_with_the_end_of_the_interval(wavezoo, predictions, allowed, code):
    finished = wavezoo("compare", *predictions, "--max-drop", allowed)
    assert finished.code == code and "29.29" in finished.out
    assert finished.err.splitlines() == ([] if code == 0 else [
        "int8 may have lost 1.54 points of top-1 against fp32, the upper end of the 95 % interval: more than "
        f"--max-drop {allowed}"
    ])  # fmt: skip


def test_max_drop_ignores_pairs_without_the_first_model(wavezoo, predictions):
    fp32, int8, reduced = predictions
    assert wavezoo("compare", int8, fp32, reduced, "--max-drop", "0").code == 0  # both are better than int8
    assert wavezoo("compare", reduced, fp32, int8, "--max-drop", "1").code == 3
    assert wavezoo("compare", fp32, int8, "--max-drop", "-1").code == 2


def test_model_of_a_strange_name_is_shown_escaped(wavezoo, predictions, tmp_path):
    predictions[1].rename(tmp_path / "in\x1bt8\n.csv")
    finished = wavezoo("compare", predictions[0], tmp_path / "in\x1bt8\n.csv", "--max-drop", "0")
    assert finished.code == 3 and "\x1b" not in finished.out + finished.err and len(finished.err.splitlines()) == 1


def test_a_single_model_is_refused(wavezoo, predictions):
    finished = wavezoo("compare", predictions[0])
    assert finished.code == 2 and "at least two models" in finished.err


@pytest.mark.parametrize("option", [("--limit", 1), ("--data", "digits"), ("--weights", "no.pth"), ("--no-fold",)])
def test_options_of_an_evaluation_are_refused_for_saved_predictions(wavezoo, predictions, option):
    finished = wavezoo("compare", *predictions, *option)
    assert finished.code == 2 and "has no effect on saved predictions" in finished.err and not finished.out


def test_data_limit_and_images_seen_are_shown(wavezoo, small_digits):
    text = wavezoo("compare", MODEL, f"{MODEL}.digits", "--data", small_digits, "--workers", 0, "--limit", 20).out
    assert "20 images of 10 classes" in text and "limited evaluation of 20 of 30 images" in text
    assert text.count("seen") == 2


def test_report_of_a_comparison_is_written(wavezoo, predictions, tmp_path):
    finished = wavezoo("compare", *predictions, "--report", "r.html")
    assert finished.code == 0 and "written: r.html" in finished.err
    assert "int8-reduced" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert wavezoo("compare", *predictions, "--no-images").code == 2
