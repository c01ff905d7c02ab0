"""Tables inside documents: written, checked, and found out when they drift."""

import pytest

from wavenet_zoo.paper.formats import to_markdown
from wavenet_zoo.paper.tables import table

EMPTY = "# Title\n\n<!-- wavezoo table 4 -->\n<!-- /wavezoo table 4 -->\n\nAfter it.\n"


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "document.md"
    path.write_text(EMPTY)
    return path


def test_a_table_is_written_between_its_markers_and_nothing_else_changes(wavezoo, document):
    assert wavezoo("table", "--update", document).code == 0
    assert document.read_text() == EMPTY.replace("4 -->\n<!-- /", f"4 -->\n{to_markdown(table(4))}<!-- /")
    finished = wavezoo("table", "--update", document, "--json")
    assert finished.json["updated"] == {str(document): []}


def test_the_list_of_what_was_measured_goes_into_documents_too(wavezoo, tmp_path):
    path = tmp_path / "document.md"
    path.write_text("<!-- wavezoo table measured -->\n<!-- /wavezoo table measured -->\n")
    assert wavezoo("table", "--update", path, "--json").json["updated"] == {str(path): ["measured"]}
    assert to_markdown(table("measured")) in path.read_text()


def test_a_figure_that_drifts_is_found_with_exit_code_3_and_what_to_do(wavezoo, document):
    wavezoo("table", "--update", document)
    assert wavezoo("table", "--check", document).code == 0
    document.write_text(document.read_text().replace("1,281,000", "1,281,001"))
    finished = wavezoo("table", "--check", document)
    assert finished.code == 3 and "Table 4" in finished.err and "--update" in finished.err


@pytest.mark.parametrize(
    ("text", "reason"), [("no table", "no marked table"), ("<!-- wavezoo table 4 -->\n", "no marked table")]
)
def test_a_document_without_markers_is_refused(wavezoo, tmp_path, text, reason):
    path = tmp_path / "document.md"
    path.write_text(text)
    finished = wavezoo("table", "--check", path)
    assert finished.code == 2 and reason in finished.err
    assert wavezoo("table", "--check", tmp_path / "nowhere.md").code == 2
    assert wavezoo("table", 4, "--check", path).code == 2
