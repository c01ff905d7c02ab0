"""What reaches stdout: widths, control characters, streams that fail, files before text."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from wavenet_zoo.cli._output import Output, facts, table
from wavenet_zoo.errors import WavezooError

MODEL = "waveletnet_cifar_m1"
HOSTILE = "a\x1b[2J\x1b]0;PWNED\x07\u202eb\x9b\r\x00\udcff"


@pytest.fixture
def shown(monkeypatch, capsys):
    """Return what an output prints, on a terminal of so many columns if given."""

    def show(*parts, columns=None, **kwargs):
        monkeypatch.setenv("COLUMNS", str(columns)) if columns else monkeypatch.delenv("COLUMNS", raising=False)
        Output(as_json=False, quiet=True).show(*parts)
        return capsys.readouterr().out

    return show


def is_safe(text):
    return not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t"]


@pytest.mark.reliability(33, 55)
def test_control_characters_are_escaped_in_every_kind_of_output(shown, capsys):
    output = Output(as_json=False, quiet=False)
    output.text(f"{HOSTILE}\n\t{HOSTILE}\n")
    output.info(HOSTILE)
    output.json({HOSTILE: HOSTILE})
    printed = capsys.readouterr()
    for text in (printed.out, printed.err, shown(facts([(HOSTILE, HOSTILE)]), table([HOSTILE], [[HOSTILE]], text=[]))):
        assert is_safe(text) and "PWNED" in text
    assert r"a\x1b[2J\x1b]0;PWNED\x07\u202eb\x9b \x00\udcff" in printed.out


@pytest.mark.reliability(55)
@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(20, 120))
def test_no_control_character_survives_in_any_output(texts, columns):
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        output = Output(as_json=False, quiet=True)
        output.show(facts([(text, text) for text in texts]), table(texts, [texts], text=texts[:2], optional=texts[2:]))
        output.text("".join(texts))
    assert is_safe(out.getvalue().replace("\t", ""))


COLUMNS = ["name", "bytes", "first", "second", "about"]
ROWS = [["waveletnet_cifar_m1.digits", "89,120", "1,234,567", "7,654,321", "a sentence of several words " * 4]]


def test_narrow_table_wraps_text_and_hides_optional_columns_first(shown):
    one_table = table(COLUMNS, ROWS, text=["name", "about"], optional=["second", "bytes"])
    wide = shown(one_table, columns=300)
    assert all(column in wide for column in COLUMNS) and "hidden" not in wide
    narrow = shown(one_table, columns=66)
    assert max(map(len, narrow.splitlines())) <= 66
    assert "hidden columns: second (widen" in narrow and "7,654,321" not in narrow
    assert "1,234,567" in narrow and "waveletnet_cifar_m1.digits" in narrow
    assert len(re.findall("sentence", narrow)) == 4
    smallest = shown(one_table, columns=20)
    assert max(map(len, smallest.splitlines())) <= 20 and "hidden columns: bytes;" in " ".join(smallest.split())


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(
            st.lists(st.text("ab é猫🐈 e\u0301", max_size=30), min_size=n, max_size=n), min_size=1, max_size=3
        )
    ),
    st.integers(20, 100),
)
def test_table_is_never_wider_than_the_terminal(rows, columns):
    titles = [f"column {i}" for i in range(len(rows[0]))]
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        Output(as_json=False, quiet=True).show(table(titles, rows, text=titles[::2]))
    widths = [cell_len(line) for line in out.getvalue().splitlines()]
    assert max(widths) <= columns or "hidden columns" in " ".join(out.getvalue().split()) or len(titles) == 1


def test_piped_tables_have_full_width_without_trailing_spaces(shown):
    text = shown(table(COLUMNS, ROWS, text=["name", "about"]), facts([("fact", "word " * 100)]))
    assert ROWS[0][-1].strip() in text and ("word " * 100).strip() in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize(
    "args",
    [
        ("list", "waveletnet_cifar_m*"),
        ("info", "waveletnet_x1"),
        ("recipe", "list"),
        ("weights", "list"),
        ("table", "6"),
        ("table", "4"),
    ],
)
def test_commands_fit_a_terminal_of_80_columns(wavezoo, monkeypatch, args):
    monkeypatch.setenv("COLUMNS", "80")
    result = wavezoo(*args)
    assert result.code == 0 and max(map(len, result.out.splitlines())) <= 80


@pytest.mark.reliability(48)
def test_result_is_printed_and_other_files_written_if_one_fails():
    done = []

    def fail():
        raise WavezooError("first")

    with pytest.raises(WavezooError, match="first"):
        Output(as_json=False, quiet=True).deliver(lambda: done.append("shown"), fail, lambda: done.append("saved"))
    assert done == ["saved", "shown"]


@pytest.mark.reliability(33, 48)
@pytest.mark.parametrize(
    ("redirect", "code", "err"),
    [
        ("> /dev/full", 1, "error: stdout cannot be written: No space left on device\n"),
        ("| true", 141, ""),
        pytest.param(">&-", 0, "", marks=pytest.mark.long),
        pytest.param("2>&-", 0, "", marks=pytest.mark.long),
        pytest.param("> /dev/full 2> /dev/full", 1, "", marks=pytest.mark.long),
    ],
)
def test_evaluation_is_saved_whatever_happens_to_its_streams(small_digits, tmp_path, redirect, code, err):
    command = f"{sys.executable} -m wavenet_zoo eval {MODEL} --data {small_digits} --workers 0 -q --save-json r.json"
    result = subprocess.run(
        ["bash", "-c", f"{command} --append-csv r.csv {redirect}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (code, err)
    assert json.loads((tmp_path / "r.json").read_text())["images"] == 30
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 2


@pytest.mark.reliability(33, 48)
@pytest.mark.parametrize(
    ("redirect", "code", "err"),
    [("| true", 141, ""), ("> /dev/full", 1, "error: stdout cannot be written"), (">&-", 0, "")],
)
def test_help_reports_a_stdout_that_fails(tmp_path, redirect, code, err):
    command = f"{sys.executable} -m wavenet_zoo --help {redirect}; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == code and result.stderr.startswith(err)


@pytest.mark.reliability(55)
def test_ascii_stdout_shows_other_characters_escaped_and_aligned(tmp_path):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    code = (
        "from wavenet_zoo.cli import _output as o; o.Output(False, True)"
        ".show(o.table([chr(954), 'n'], [['a', '1'], [chr(252), '2']], text=[chr(954)]))"
    )
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    lines = result.stdout.splitlines()
    assert lines == [r"\u03ba |n", "-------+--", "a      |1", r"\xfc   |2"]
