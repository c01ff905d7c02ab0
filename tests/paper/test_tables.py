"""``wavezoo table``: every table of the paper, measured beside printed."""

import csv
import io
import json

import pytest

from wavenet_zoo import WavezooError, table, train
from wavenet_zoo.paper.formats import cells, remarks_of, to_csv, to_markdown
from wavenet_zoo.paper.published import ABLATIONS, REMARKS, SYSTEMS, printed_value
from wavenet_zoo.paper.system_tables import NOTABLE, list_peers


@pytest.fixture(scope="module")
def tables():
    return {number: table(number) for number in range(1, 8)}


@pytest.mark.parametrize("number", range(1, 8))
def test_every_table_prints_in_every_form(tables, number):
    made = tables[number]
    assert json.loads(json.dumps(made.to_dict()))["table"] == number
    lines = list(csv.reader(io.StringIO(to_csv(made))))
    assert len(lines) == len(made.rows) + 1 and {len(line) for line in lines} == {len(made.columns) + 1}
    assert to_markdown(made).count("\n| ") == len(made.rows) + 2  # titles and rule
    assert all(len(line) == len(made.columns) for line in cells(made.columns, made.rows))


def test_complexity_of_tables_6_and_7_is_printed_as_the_paper_prints_it(tables):
    for number in (6, 7):
        rows = [row for row in tables[number].rows if row["params_paper"]]
        assert len(rows) == len([system for system in SYSTEMS if system.table == number])
        for row in rows:
            assert row["macs_as_printed"] == row["macs_paper"]
            assert f"{row['params'] / 1e6:.2f}M" == row["params_paper"]


@pytest.mark.parametrize("number", [1, 2, 5, 6, 7])
def test_wherever_paper_and_model_differ_by_more_than_2_percent_there_is_a_reason(tables, number):
    differing = 0
    for row in tables[number].rows:
        for key in ("params", "macs", ""):
            difference = row.get(f"{key}_difference" if key else "difference")
            if difference is not None and abs(difference) > NOTABLE:
                differing += 1
                assert row["remark"] and (number == 1 or (row["model"], key) in REMARKS), row
    assert differing


def test_no_reason_is_kept_for_a_difference_that_there_is_not(tables):
    systems = {system.model for system in SYSTEMS}
    for model, key in REMARKS:
        assert model in systems
        if key != "note":
            rows = [row for made in tables.values() for row in made.rows if row.get("model") == model]
            assert any(abs(row.get(f"{key}_difference") or 0) > NOTABLE for row in rows), (model, key)


def test_table_1_counts_the_layers_and_claim_6_2_holds(tables):
    rows = {(row["layer"], row["channels"]): row for row in tables[1].rows}
    for (layer, _), row in rows.items():
        assert row["macs"] == row["params"] * 14**2
        if "WConv" not in layer:
            assert row["params"] == row["params_paper"]
    for D in (16, 64, 256, 1024):
        assert rows["1x1 WConv (κ = 3)", D]["params"] == D * D * 6 // 32
        assert rows["1x1 WConv (max κ)", D]["params"] == D + D // 4 * (D.bit_length() - 2)


def test_table_3_quotes_the_paper_and_puts_nothing_measured_in_its_columns(tables):
    first, *others = tables[3].rows
    assert (first["original_paper"], first["no_dfwt_paper"], first["gap_paper"]) == (5.15, 8.74, 3.59)
    assert all(row.get("original_paper") is None for row in others)
    assert ABLATIONS["no_dfwt"].gap == 3.59


def test_table_4_is_read_off_the_model_and_names_the_two_places_where_the_paper_prints_otherwise(tables):
    rows = tables[4].rows
    assert len(rows) == 11
    differing = [row["input"] for row in rows if row["paper"] != "the same"]
    assert differing == ["112²x32", "7²x320"]
    assert all(row["remark"] for row in rows if row["input"] in differing)
    assert [row["channels"] for row in rows][:9] == ["32", "16", "24", "32", "64", "96", "160", "320", "1280"]


def test_tables_2_and_5_have_no_row_that_is_a_quotation_alone(tables):
    pytest.importorskip("pytorchcv", reason="needs the extra peers")
    for number, rows in ((2, 6), (5, 12)):
        counted = [row for row in tables[number].rows if row["system"]]
        assert len([row for row in counted if row.get("error_paper") is not None]) == rows
        assert all(row["params"] and row["macs"] for row in counted)


def test_resnet_50_is_counted_as_in_its_paper(tables):
    (row,) = [row for row in tables[5].rows if row["model"] == "resnet50"]
    assert row["macs"] == 3_857_973_248  # v1; timm's, with the stride in the 3x3, has 4,089,184,256


def test_all_16_other_systems_are_listed_measured_beside_printed(wavezoo):
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
def test_what_is_a_reconstruction_says_so_in_info(wavezoo, name):
    assert "reconstruction" in wavezoo("info", name).out


def test_without_the_extra_a_row_says_how_to_get_it(monkeypatch):
    import sys

    from wavenet_zoo.paper import system_tables

    system_tables._count.cache_clear()
    monkeypatch.setitem(sys.modules, "pytorchcv.models.nasnet", None)
    monkeypatch.setitem(sys.modules, "pytorchcv.models", None)
    monkeypatch.setitem(sys.modules, "pytorchcv", None)
    (row,) = [row for row in table(5).rows if row["model"] == "nasnet_a_mobile"]
    assert row["params"] is None and "peers" in row["remark"]
    system_tables._count.cache_clear()


def test_printed_figures_are_read_with_their_unit():
    assert (printed_value("2.72M"), printed_value("1.5G"), printed_value("60M")) == (2.72e6, 1.5e9, 60e6)


@pytest.fixture(scope="module")
def own_runs(tmp_path_factory, small_digits):
    """Two seeds with DFWT and one without, of the paper's network at M = 1."""
    folder = tmp_path_factory.mktemp("runs")
    quick = ["schedule.epochs=1", "batch_size=50"]
    for seed in (0, 1):
        train("digits", small_digits, folder / f"with{seed}", [*quick, f"seed={seed}"], workers=0)
    train("digits", small_digits, folder / "without", [*quick, "model.kwargs.use_dfwt=false"], workers=0)
    return folder


def test_own_runs_stand_in_the_measured_columns_with_data_recipe_seeds_and_weights(own_runs):
    rows = [row for row in table(3, runs=[own_runs]).rows if "1 epoch," in (row.get("measured_on") or "")]
    (row,) = rows
    result = json.loads((own_runs / "with0" / "result.json").read_text())
    without = json.loads((own_runs / "without" / "result.json").read_text())
    assert row["original"] == f"{100 - result['last']['top1']:.2f}"  # the seed that both sides have
    assert row["measured"]["gaps"] == [(100 - without["last"]["top1"]) - (100 - result["last"]["top1"])]
    for part in ("small-digits, recipe digits, 1 epoch, batch_size=50, seed 0", result["weights_sha256"][:12]):
        assert part in row["measured_on"]
    assert row.get("original_paper") is None


def test_what_was_measured_is_listed_with_its_budget_one_row_for_the_seeds_of_a_recipe(wavezoo, own_runs):
    rows = [row for row in table("measured", runs=[own_runs]).rows if row["data"] == "small-digits"]
    assert sorted((row["model"], row["seeds"]) for row in rows) == [
        ("waveletnet_cifar_m1", "0, 1"),
        ("waveletnet_cifar_m1 use_dfwt=False", "0"),
    ]
    assert all(
        (row["recipe"], row["epochs"], row["beginning"]) == ("digits, batch_size=50", 1, "random weights")
        for row in rows
    )
    assert rows[0]["measured"]["error"]["mean"] <= rows[1]["measured"]["error"]["mean"]
    assert wavezoo("table", "measured", "--runs", own_runs).out.startswith("Measured")


def test_table_7_has_the_measured_networks_beside_the_papers_depths_with_their_own_counts(small_digits, tmp_path):
    plan = ["schedule.epochs=1", "batch_size=50", "model.name=waveletnet_x1"]
    train("digits", small_digits, tmp_path / "x1", plan, workers=0)
    train("digits", small_digits, tmp_path / "k0", [*plan, "model.kwargs.kappas=[0,0,0]"], workers=0)
    rows = [row for row in table(7, runs=[tmp_path]).rows if "1 epoch," in (row["measured_on"] or "")]
    assert [row["model"] for row in rows] == ["waveletnet_x1_k3", "waveletnet_x1 kappas=[0,0,0]"]
    assert [row["params"] for row in rows] == [2_722_272, 3_504_872]
    assert rows[1].get("error_paper") is None and rows[1]["params_paper"] is None
    assert table(6, runs=[tmp_path]).rows[1]["model"] == "waveletnet_x1"
    table(7, plot=tmp_path / "figure.svg", runs=[tmp_path])
    drawn = (tmp_path / "figure.svg").read_text()  # with every text as a comment
    assert "(small-digits, 1 epoch)" in drawn and "15 epochs" not in drawn  # a lone network shows no order


def test_a_run_that_is_not_whole_is_named(own_runs, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("run.json", "recipe.yaml"):
        (broken / name).write_bytes((own_runs / "with0" / name).read_bytes())
    assert table(3, runs=[tmp_path]).rows  # not finished: not yet a result
    (broken / "result.json").write_text('{"last": {}}')
    with pytest.raises(WavezooError, match="broken: not what a finished run leaves"):
        table(3, runs=[tmp_path])
    with pytest.raises(WavezooError, match="nowhere: no such folder"):
        table(3, runs=[tmp_path / "nowhere"])


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6, 7])
def test_figures_of_the_tables_are_drawn(tmp_path, number, own_runs):
    table(number, plot=tmp_path / "figure.svg", runs=[own_runs])
    text = (tmp_path / "figure.svg").read_text()
    assert text.count("<path") > 20


def test_table_4_has_nothing_to_plot_and_says_so(tmp_path):
    with pytest.raises(WavezooError, match="Table 4"):
        table(4, plot=tmp_path / "figure.png")


def test_the_command_prints_each_form(wavezoo, tables):
    assert wavezoo("table", 6).out.startswith("Table 6")
    assert wavezoo("table", 6, "--format", "markdown").out == to_markdown(tables[6])
    assert wavezoo("table", 6, "--format", "csv").out == to_csv(tables[6])
    assert wavezoo("table", 6, "--json").json["rows"][1]["params"] == 2_722_272
    assert remarks_of(tables[6].rows)[0] in wavezoo("table", 6).out


@pytest.mark.parametrize(
    "arguments",
    [["8"], ["0"], [], ["6", "--format", "html"], ["6", "--plot", "x.bmp"], ["measured", "--plot", "x.png"]],
)
def test_wrong_arguments_end_in_one_line(wavezoo, arguments):
    finished = wavezoo("table", *arguments)
    assert finished.code == 2 and len(finished.err.splitlines()) == 1
