"""Generated tables in documents: ``wavezoo table --update`` and ``--check``."""

import pytest

from wavenet_zoo.paper.table import to_markdown
from wavenet_zoo.paper.tables import table

EMPTY = "# Title\n\n<!-- wavezoo table 4 -->\n<!-- /wavezoo table 4 -->\n\nAfter it.\n"


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "document.md"
    path.write_text(EMPTY)
    return path


def test_update_writes_the_marked_table_and_nothing_else(wavezoo, document):
    assert wavezoo("table", "--update", document).code == 0
    assert document.read_text() == EMPTY.replace("4 -->\n<!-- /", f"4 -->\n{to_markdown(table(4))}<!-- /")
    finished = wavezoo("table", "--update", document, "--json")
    assert finished.json["updated"] == {str(document): []}


@pytest.mark.parametrize("name", ["measured", "models"])
def test_update_writes_tables_with_a_name(wavezoo, tmp_path, name):
    path = tmp_path / "document.md"
    path.write_text(f"<!-- wavezoo table {name} -->\n<!-- /wavezoo table {name} -->\n")
    assert wavezoo("table", "--check", path).code == 3
    assert wavezoo("table", "--update", path, "--json").json["updated"] == {str(path): [name]}
    assert to_markdown(table(name)) in path.read_text()
    assert wavezoo("table", "--check", path).code == 0


def test_check_exits_with_3_for_a_changed_figure(wavezoo, document):
    wavezoo("table", "--update", document)
    assert wavezoo("table", "--check", document).code == 0
    document.write_text(document.read_text().replace("1,281,000", "1,281,001"))
    finished = wavezoo("table", "--check", document)
    assert finished.code == 3 and "outdated tables: 4" in finished.err and "--update" in finished.err


@pytest.mark.parametrize("text", ["no table", "<!-- wavezoo table 4 -->\n"])
def test_check_refuses_a_document_without_markers(wavezoo, tmp_path, text):
    path = tmp_path / "document.md"
    path.write_text(text)
    finished = wavezoo("table", "--check", path)
    assert finished.code == 2 and "no marked table" in finished.err
    assert wavezoo("table", "--check", tmp_path / "nowhere.md").code == 2
    assert wavezoo("table", 4, "--check", path).code == 2
