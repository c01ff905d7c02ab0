import pytest

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.paper.scales import list_scales, load_scale
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.runtime.resources import shipped_folder


@pytest.fixture
def scale(tmp_path):
    def write(text):
        (tmp_path / "own.yaml").write_text(text)
        return tmp_path / "own.yaml"

    return write


@pytest.mark.parametrize("name", list_scales())
def test_shipped_scale_has_valid_recipes(name):
    scale = load_scale(name)
    assert scale.name == name and scale.title
    for rows in scale.tables.values():
        hashes = [row.load().sha256() for row in rows]
        assert len(set(hashes)) == len(hashes)


def test_rows_of_table_3_are_pairs():
    for name in list_scales():
        rows = {row.name: row.load() for row in load_scale(name).rows(3)}
        for row, recipe in rows.items():
            if not row.endswith("no_dfwt"):
                changed = rows[f"{row}_no_dfwt"]
                assert set(changed.differing(recipe)) <= {"model.kwargs", "model.kwargs.use_dfwt"}


@pytest.mark.parametrize(
    ("table", "folder"), [(3, "cifar10/depth"), (5, "tiny_imagenet/modern"), (7, "tiny_imagenet/thirty_epochs")]
)
def test_runs_in_results_are_those_of_the_scale_gpu(table, folder):
    root = shipped_folder("results") / folder
    rows = {row.name: row.load() for row in load_scale("gpu").rows(table)}
    for path in root.iterdir():
        if path.is_dir():
            recipe = load_recipe(path / "seed0" / "recipe.yaml")
            assert recipe.sha256() == rows[path.name].sha256()


def test_overrides_and_seeds_are_inherited(scale):
    path = scale(
        "# Title\nseeds: 3\ntables:\n  3:\n    overrides: [schedule.epochs=2]\n    rows:\n"
        "      a: {recipe: digits}\n      b: {recipe: digits, overrides: [batch_size=50], seeds: 1}\n"
    )
    loaded = load_scale(path)
    a, b = loaded.rows(3)
    assert (loaded.name, loaded.title, a.seeds, b.seeds) == ("own", "Title", 3, 1)
    assert (a.load().schedule.epochs, a.load().batch_size, b.load().schedule.epochs, b.load().batch_size) == (
        2,
        32,
        2,
        50,
    )
    assert [row.name for row in loaded.rows(3, only=["b"])] == ["b"]


def test_recipe_file_is_found_beside_the_scale(scale, tmp_path):
    load_scale("digits").rows(3)[0].load()
    (tmp_path / "mine.yaml").write_text(load_scale("digits").rows(3)[0].load().to_yaml())
    assert load_scale(scale("tables: {3: {rows: {a: {recipe: mine.yaml}}}}")).rows(3)[0].load().model.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tables: {}", "tables: Dictionary should have at least 1 item"),
        ("tables: {4: {rows: {a: {recipe: digits}}}}", "tables.4"),
        ("tables: {3: {rows: {}}}", "tables.3.rows: Dictionary should have at least 1 item"),
        ("tables: {3: {rows: {a: {recipe: nosuch}}}}", "row 'a': nosuch: recipe not found"),
        ("tables: {3: {rows: {a: {recipe: digits, overrides: [batch=1]}}}}", "row 'a'"),
        ("tables: {3: {rows: {a: {recipe: digits, seed: 1}}}}", "seed: Extra inputs are not permitted"),
        ("tables: {3: {rows: {../a: {recipe: digits}}}}", "should match pattern"),
        ("tables: {3: {rows: {a: {recipe: digits, seeds: 0}}}}", "greater than or equal to 1"),
        ("tables: [", "not valid YAML"),
        (
            "tables: {2: {rows: {a: {recipe: digits}}}, 3: {rows: {a: {recipe: digits, overrides: [seed=1]}}}}",
            "two rows 'a' differ",
        ),
    ],
)
def test_invalid_scale_is_refused_in_one_line(scale, text, message):
    with pytest.raises(WavezooError) as error:
        load_scale(scale(text))
    assert "own.yaml" in error.value.message and message in error.value.message


def test_unknown_scale_table_and_row_are_named(tmp_path):
    for call, message in (
        (lambda: load_scale("digit"), "scale 'digit' not found"),
        (lambda: load_scale(tmp_path / "missing.yaml"), "missing.yaml: cannot be read: No such file"),
        (lambda: load_scale("digits").rows(7), "scale digits: has no runs for Table 7"),
        (lambda: load_scale("digits").rows(3, ["m9"]), "scale digits: Table 3 has no row 'm9'"),
    ):
        with pytest.raises(WavezooError) as error:
            call()
        assert message in error.value.message and error.value.hint
