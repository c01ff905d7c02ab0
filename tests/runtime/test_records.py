import csv
import errno
import fcntl
import io
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, write_atomically
from wavenet_zoo.runtime.records import append_csv, check_append_csv, to_csv, to_markdown, write_json


def test_rows_are_appended_under_one_header(tmp_path):
    for top1 in (1.5, 2.5):
        append_csv(tmp_path / "r.csv", {"model": "a, b", "top1": top1})
    with (tmp_path / "r.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"model": "a, b", "top1": "1.5"}, {"model": "a, b", "top1": "2.5"}]


def test_csv_with_other_columns_is_refused_and_unchanged(tmp_path):
    (tmp_path / "r.csv").write_text("something,else\n1,2\n")
    with pytest.raises(WavezooError, match="its columns differ"):
        append_csv(tmp_path / "r.csv", {"model": "a"})
    assert (tmp_path / "r.csv").read_text() == "something,else\n1,2\n"


def test_processes_that_append_at_once_lose_no_line(tmp_path):
    code = (
        "import sys; from pathlib import Path; from wavenet_zoo.runtime.records import append_csv\n"
        "for i in range(50): append_csv(Path('r.csv'), {'process': sys.argv[1], 'row': i})"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(n)], cwd=tmp_path) for n in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = {(row["process"], row["row"]) for row in csv.DictReader(file)}
    assert len(rows) == 400


@pytest.mark.reliability(7)
def test_a_result_that_could_not_be_written_is_known_before_the_work(tmp_path):
    check_writable(None)
    check_writable(tmp_path / "new.json")
    with pytest.raises(WavezooError, match="mkdir -p"):
        check_writable(tmp_path / "missing" / "new.json")


@pytest.mark.reliability(32)
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    with pytest.raises(WavezooError, match="cannot be written"):
        write_atomically(tmp_path / "missing" / "r.json", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_links_stay_links_and_devices_stay_devices(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(WavezooError, match="is a named pipe, not a regular file"):
        write_atomically(tmp_path / "fifo", b"x")
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.reliability(32)
def test_file_is_synced_before_it_is_renamed(tmp_path, monkeypatch):
    order = []
    for module, name in ((os, "fsync"), (Path, "replace")):
        call = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, n=name, c=call: order.append((n, _what(args[0]))) or c(*args))
    write_atomically(tmp_path / "f", b"x")
    assert order == [("fsync", "file"), ("replace", "file"), ("fsync", "folder")]


def _what(place):
    return "folder" if stat.S_ISDIR(os.stat(place).st_mode) else "file"  # noqa: PTH116 - or a descriptor


@pytest.mark.reliability(32)
def test_written_files_have_the_permissions_of_the_umask(tmp_path):
    umask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "f", b"x")
    finally:
        os.umask(umask)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o644


ROW = {"model": "m", "top1": 1.5}


def rows_of(content):
    text = content.decode("utf-8-sig")
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row]


@pytest.mark.reliability(45)
@pytest.mark.parametrize(
    "old",
    [
        b"",
        b"model,top1",
        b"model,top1\n",
        b"model,top1\nm,1",
        b"model,top1\r\nm,1",
        b"model,top1\rm,1\r",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbfmodel,top1\nm,1\n",
        b'model,top1\n"a\nb",1',
    ],
)
def test_row_is_appended_to_whole_lines(tmp_path, old):
    path = tmp_path / "r.csv"
    path.write_bytes(old)
    check_append_csv(path, list(ROW))
    append_csv(path, ROW)
    new = path.read_bytes()
    assert new.startswith(old) and rows_of(new) == [*(rows_of(old) or [list(ROW)]), ["m", "1.5"]]


NOT_CSV = [
    b"\xff\xfe\0\0",
    b"a\0b,c\n",
    b"a,b\n1,2\n",
    b"model,top1\n\xe9,1\n",
    b'model,top1\n"m,1\n',
    b"top1,model\n",
    b"\n",
]


@pytest.mark.reliability(45)
@pytest.mark.parametrize("old", NOT_CSV)
def test_file_that_is_not_this_csv_is_refused_and_unchanged(tmp_path, old):
    path = tmp_path / "r.csv"
    path.write_bytes(old)
    for append in (lambda: check_append_csv(path, list(ROW)), lambda: append_csv(path, ROW)):
        with pytest.raises(WavezooError, match=r"r\.csv: (its columns differ|not a CSV file)") as raised:
            append()
        assert raised.value.hint == "append to another file" and path.read_bytes() == old


PIECES = st.sampled_from(
    [b"model,top1", b"m", b"1.5", b",", b"\n", b"\r\n", b"\r", b'"', b"\0", b"\xef\xbb\xbf", b"\xe9", b" "]
)


@pytest.mark.reliability(45)
@given(st.booleans(), st.lists(PIECES, max_size=8) | st.binary(max_size=20).map(lambda content: [content]))
def test_any_old_content_is_kept_whether_a_row_is_added_or_not(with_header, pieces):
    old = (b"model,top1\n" if with_header else b"") + b"".join(pieces)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r.csv")
        path.write_bytes(old)
        try:
            append_csv(path, ROW)
        except WavezooError:
            assert path.read_bytes() == old
        else:
            assert rows_of(path.read_bytes()) == [*(rows_of(old) or [list(ROW)]), ["m", "1.5"]]


@pytest.mark.reliability(45)
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_row_is_appended_on_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    append_csv(tmp_path / "r.csv", ROW)
    append_csv(tmp_path / "r.csv", ROW)
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 3


@pytest.mark.reliability(45)
def test_row_is_appended_in_a_folder_where_no_file_can_be_created(tmp_path, monkeypatch):
    append_csv(tmp_path / "r.csv", ROW)
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: pytest.fail("an existing file is not replaced"))
    check_append_csv(tmp_path / "r.csv", list(ROW))
    append_csv(tmp_path / "r.csv", ROW)


@pytest.mark.reliability(7, 45)
def test_pipe_is_refused_as_a_csv_file_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for append in (lambda: check_append_csv(tmp_path / "fifo", list(ROW)), lambda: append_csv(tmp_path / "fifo", ROW)):
        with pytest.raises(WavezooError, match="is a named pipe"):
            append()


@pytest.mark.reliability(60)
@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' calc'!A0", "'=cmd|' calc'!A0"),
        ("+1+cmd", "'+1+cmd"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "' =1"),
        ("-1.5", "-1.5"),
        ("+1e-05", "+1e-05"),
        ("-0.06 ± 2.06", "-0.06 ± 2.06"),
        ("+1.2 %", "+1.2 %"),
        ("-", "-"),
        (-1.5, "-1.5"),
        (float("-inf"), "-inf"),
        ("a\x1b[2J\udcff", r"a\x1b[2J\udcff"),
    ],
)
def test_text_in_csv_is_never_a_formula_or_an_escape(value, cell):
    assert list(csv.reader(io.StringIO(to_csv(["a"], [[value]])))) == [["a"], [cell]]


def test_markdown_table_escapes_names():
    lines = to_markdown(["name", "n"], [["a|b<c\n", "1"]], text=["name"]).splitlines()
    assert lines == ["| name | n |", "| --- | ---: |", "| a\\|b&lt;c  | 1 |"]
