import csv
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, write_atomically
from wavenet_zoo.runtime.records import append_csv, write_json


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
