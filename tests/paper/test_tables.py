"""``wavezoo table``: the tables of the paper, measured beside printed."""

import csv
import io
import json
import re

import pytest

from wavenet_zoo import WavezooError, table, train
from wavenet_zoo.paper.plots import plot_table
from wavenet_zoo.paper.published import ABLATIONS, REMARKS, SYSTEMS, printed_value
from wavenet_zoo.paper.system_tables import MAX_UNEXPLAINED_DIFFERENCE, list_peers
from wavenet_zoo.paper.table import cells, remarks_of, to_csv, to_markdown


@pytest.fixture(scope="module")
def tables():
    return {number: table(number) for number in range(1, 8)}


@pytest.mark.parametrize("number", range(1, 8))
def test_every_table_has_every_format(tables, number):
    made = tables[number]
    assert json.loads(json.dumps(made.to_dict()))["table"] == number
    lines = list(csv.reader(io.StringIO(to_csv(made))))
    assert len(lines) == len(made.rows) + 1 and {len(line) for line in lines} == {len(made.columns) + 1}
    assert to_markdown(made).count("\n| ") == len(made.rows) + 2  # titles and rule
    assert all(len(line) == len(made.columns) for line in cells(made.columns, made.rows))


def test_counts_of_tables_6_and_7_equal_the_printed_ones(tables):
    for number in (6, 7):
        rows = [row for row in tables[number].rows if row["params_paper"]]
        assert len(rows) == len([system for system in SYSTEMS if system.table == number])
        for row in rows:
            assert row["macs_as_printed"] == row["macs_paper"]
            assert f"{row['params'] / 1e6:.2f}M" == row["params_paper"]


@pytest.mark.parametrize("number", [1, 2, 5, 6, 7])
def test_differences_above_2_percent_have_a_reason(tables, number):
    differing = 0
    for row in tables[number].rows:
        for key in ("params", "macs", ""):
            difference = row.get(f"{key}_difference" if key else "difference")
            if difference is not None and abs(difference) > MAX_UNEXPLAINED_DIFFERENCE:
                differing += 1
                assert row["remark"] and (number == 1 or (row["model"], key) in REMARKS), row
    assert differing


def test_every_reason_belongs_to_a_difference(tables):
    systems = {system.model for system in SYSTEMS}
    for model, key in REMARKS:
        assert model in systems
        if key != "note":
            rows = [row for made in tables.values() for row in made.rows if row.get("model") == model]
            differences = [abs(row.get(f"{key}_difference") or 0) for row in rows]
            assert max(differences) > MAX_UNEXPLAINED_DIFFERENCE, (model, key)


def test_table_1_counts_the_layers_and_claim_6_2_holds(tables):
    rows = {(row["layer"], row["channels"]): row for row in tables[1].rows}
    for (layer, _), row in rows.items():
        assert row["macs"] == row["params"] * 14**2
        if "WConv" not in layer:
            assert row["params"] == row["params_paper"]
    for D in (16, 64, 256, 1024):
        assert rows["1x1 WConv (κ = 3)", D]["params"] == D * D * 6 // 32
        assert rows["1x1 WConv (max κ)", D]["params"] == D + D // 4 * (D.bit_length() - 2)


def test_table_3_has_no_measured_figure_in_printed_columns(tables):
    first, *others = tables[3].rows
    assert (first["original_paper"], first["no_dfwt_paper"], first["gap_paper"]) == (5.15, 8.74, 3.59)
    assert all(row.get("original_paper") is None for row in others)
    assert ABLATIONS["no_dfwt"].gap == 3.59


def test_table_4_names_the_two_rows_printed_differently(tables):
    rows = tables[4].rows
    assert len(rows) == 11
    differing = [row["input"] for row in rows if row["paper"] != "the same"]
    assert differing == ["112²x32", "7²x320"]
    assert all(row["remark"] for row in rows if row["input"] in differing)
    assert [row["channels"] for row in rows][:9] == ["32", "16", "24", "32", "64", "96", "160", "320", "1280"]


def test_every_printed_row_of_tables_2_and_5_is_counted(tables):
    pytest.importorskip("pytorchcv", reason="needs the extra peers")
    for number, rows in ((2, 6), (5, 12)):
        counted = [row for row in tables[number].rows if row["system"]]
        assert len([row for row in counted if row.get("error_paper") is not None]) == rows
        assert all(row["params"] and row["macs"] for row in counted)


def test_resnet50_is_counted_as_in_its_paper(tables):
    (row,) = [row for row in tables[5].rows if row["model"] == "resnet50"]
    assert row["macs"] == 3_857_973_248  # v1; timm's, with the stride in the 3x3, has 4,089,184,256


def test_list_peers_has_16_counted_networks(wavezoo):
    pytest.importorskip("pytorchcv", reason="needs the extra peers")
    peers = list_peers()
    assert len(peers) == 16 and len({peer.model for peer in peers}) == 16
    assert all(peer.params and peer.macs for peer in peers)
    assert [peer.model for peer in peers if "reconstruction" in (peer.remark or "")] == [
        "igcv2_cifar",
        "shufflenet_v1_x0_5",
    ]
    shown = wavezoo("list", "--peers")
    assert shown.code == 0 and all(f"{peer.params:,}" in shown.out for peer in peers)
    assert [entry["params"] for entry in wavezoo("list", "--peers", "--json").json] == [peer.params for peer in peers]
    assert wavezoo("list", "--peers", "vgg*").code == 2


@pytest.mark.parametrize("name", ["igcv2_cifar", "shufflenet_v1_x0_5"])
def test_info_names_reconstructions(wavezoo, name):
    assert "reconstructed" in wavezoo("info", name).out


def test_missing_extra_is_named_in_the_remark(monkeypatch):
    import sys

    from wavenet_zoo.paper import system_tables

    system_tables.count_model.cache_clear()
    monkeypatch.setitem(sys.modules, "pytorchcv.models.nasnet", None)
    monkeypatch.setitem(sys.modules, "pytorchcv.models", None)
    monkeypatch.setitem(sys.modules, "pytorchcv", None)
    (row,) = [row for row in table(5).rows if row["model"] == "nasnet_a_mobile"]
    assert row["params"] is None and "pip install pytorchcv" in row["remark"]
    system_tables.count_model.cache_clear()


def test_printed_figures_are_read_with_their_unit():
    assert (printed_value("2.72M"), printed_value("1.5G"), printed_value("60M")) == (2.72e6, 1.5e9, 60e6)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_digits):
    """Two seeds with DFWT and one without, of the paper's network at M = 1."""
    folder = tmp_path_factory.mktemp("runs")
    quick = ["schedule.epochs=1", "batch_size=50"]
    for seed in (0, 1):
        train("digits", small_digits, folder / f"with{seed}", [*quick, f"seed={seed}"], workers=0)
    train("digits", small_digits, folder / "without", [*quick, "model.kwargs.use_dfwt=false"], workers=0)
    return folder


def test_table_3_pairs_the_runs_with_equal_seeds(runs):
    rows = [row for row in table(3, runs=[runs]).rows if "1 epoch," in (row.get("measured_on") or "")]
    (row,) = rows
    result = json.loads((runs / "with0" / "result.json").read_text())
    without = json.loads((runs / "without" / "result.json").read_text())
    assert row["original"] == f"{100 - result['last']['top1']:.2f}"  # the seed that both arms have
    assert row["measured"]["gaps"] == [(100 - without["last"]["top1"]) - (100 - result["last"]["top1"])]
    assert row["measured_on"] == "small-digits, recipe digits, 1 epoch, batch_size=50, seed 0"
    assert result["weights_sha256"] in row["measured"]["original"]["weights_sha256"]
    assert row.get("original_paper") is None


@pytest.mark.parametrize("number", [*range(1, 8), "measured", "models"])
def test_cells_have_no_hash_and_json_keeps_them(number):
    made = table(number)
    shown = [cell for line in cells(made.columns, made.rows) for cell in line]
    hexadecimal = re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{7,}\b")
    assert not [cell for cell in shown if "sha256" in cell or hexadecimal.search(cell)]
    for row in made.rows:
        assert not row.get("measured") or re.search(r'"[0-9a-f]{64}"', json.dumps(row["measured"]))


def test_measured_lists_runs_by_recipe_and_budget(wavezoo, runs):
    rows = [row for row in table("measured", runs=[runs]).rows if row["data"] == "small-digits"]
    assert sorted((row["model"], row["seeds"]) for row in rows) == [
        ("waveletnet_cifar_m1", "0, 1"),
        ("waveletnet_cifar_m1 use_dfwt=False", "0"),
    ]
    assert all(
        (row["recipe"], row["epochs"], row["beginning"]) == ("digits, batch_size=50", 1, "random weights")
        for row in rows
    )
    assert rows[0]["measured"]["error"]["mean"] <= rows[1]["measured"]["error"]["mean"]
    assert wavezoo("table", "measured", "--runs", runs).out.startswith("Measured")


def test_table_7_has_measured_networks_beside_printed_depths(small_digits, tmp_path):
    recipe = ["schedule.epochs=1", "batch_size=50", "model.name=waveletnet_x1"]
    train("digits", small_digits, tmp_path / "x1", recipe, workers=0)
    train("digits", small_digits, tmp_path / "k0", [*recipe, "model.kwargs.kappas=[0,0,0]"], workers=0)
    made = table(7, runs=[tmp_path])
    rows = [row for row in made.rows if "1 epoch," in (row["measured_on"] or "")]
    assert [row["model"] for row in rows] == ["waveletnet_x1_k3", "waveletnet_x1 kappas=[0,0,0]"]
    assert [row["params"] for row in rows] == [2_722_272, 3_504_872]
    assert rows[1].get("error_paper") is None and rows[1]["params_paper"] is None
    assert table(6, runs=[tmp_path]).rows[1]["model"] == "waveletnet_x1"
    plot_table(tmp_path / "figure.svg", made)
    drawn = (tmp_path / "figure.svg").read_text()  # with every text as a comment
    assert "small-digits, 1 epoch" in drawn and "15 epochs" in drawn  # also a training of a single network


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("result.json", '{"last": {}}', r"result\.json: missing key 'out'"),
        ("result.json", "{", r"result\.json: not valid JSON"),
        ("run.json", '{"metadata": {"classes": 3}}', r"run\.json: missing key 'recipe'"),
        ("recipe.yaml", "model: 1", r"recipe\.yaml:1: model"),
    ],
)
def test_invalid_files_of_a_run_are_named(runs, tmp_path, name, content, reason):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in ("run.json", "recipe.yaml"):
        (broken / file).write_bytes((runs / "with0" / file).read_bytes())
    assert table(3, runs=[tmp_path]).rows  # an unfinished run has no result yet
    (broken / "result.json").write_bytes((runs / "with0" / "result.json").read_bytes())
    (broken / name).write_text(content)
    with pytest.raises(WavezooError, match=rf"broken/{reason}"):
        table(3, runs=[tmp_path])


def test_missing_folder_of_runs_is_named(tmp_path):
    with pytest.raises(WavezooError, match="nowhere: folder of runs not found"):
        table(3, runs=[tmp_path / "nowhere"])


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6, 7, "depth", "pairs"])
def test_tables_are_drawn(tmp_path, number, runs):
    plot_table(tmp_path / "figure.svg", table(number, runs=[runs]))
    text = (tmp_path / "figure.svg").read_text()
    assert text.count("<path") > 20


@pytest.mark.parametrize("number", [4, "measured", "models"])
def test_tables_without_figure_refuse_plot_before_the_work(wavezoo, monkeypatch, number):
    with pytest.raises(WavezooError, match=f"table {number} has no figure"):
        plot_table("figure.png", table(number))
    monkeypatch.setattr("wavenet_zoo.table", lambda *args, **kwargs: pytest.fail("computed"), raising=False)
    finished = wavezoo("table", number, "--plot", "figure.png")
    assert finished.code == 2 and "no figure" in finished.err


def test_command_prints_each_format(wavezoo, tables, tmp_path):
    assert wavezoo("table", 6, "--plot", "figure.svg").out.startswith("Table 6")
    assert (tmp_path / "figure.svg").exists()
    assert wavezoo("table", 6, "--format", "markdown").out == to_markdown(tables[6])
    assert wavezoo("table", 6, "--format", "csv").out == to_csv(tables[6])
    assert wavezoo("table", 6, "--json").json["rows"][1]["params"] == 2_722_272
    assert remarks_of(tables[6].rows)[0] in wavezoo("table", 6).out


@pytest.mark.parametrize(
    "arguments",
    [["8"], ["0"], [], ["6", "--format", "html"], ["6", "--plot", "x.bmp"], ["models", "--check", "README.md"]],
)
def test_invalid_arguments_exit_with_one_line(wavezoo, arguments):
    finished = wavezoo("table", *arguments)
    assert finished.code == 2 and len(finished.err.splitlines()) == 1


def test_pairs_have_the_runs_of_their_weights():
    rows = {row["b"]: row for row in table("pairs").rows}
    assert {rows["waveletnet_x1"][key] for key in ("trained_a", "trained_b")} == {"tiny-imagenet-200, 80 epochs"}
    newer = rows["waveletnet_x1.modern_tiny_in200"]
    assert (newer["trained_a"], newer["trained_b"]) == ("tiny-imagenet-200, 15 epochs", "tiny-imagenet-200, 80 epochs")
    for row in rows.values():
        low, high = row["interval"]
        assert low < row["difference_value"] < high
        assert row["difference_value"] == pytest.approx(row["top1_b"] - row["top1_a"])
        assert (row["result"] == "not distinguished") == (low < 0 < high)


def test_newer_weights_of_x1_are_better_than_older_ones_by_the_rule():
    (row,) = (row for row in table("pairs").rows if row["a"] == "waveletnet_x1.tiny_in200")
    assert row["interval"][0] > 0
