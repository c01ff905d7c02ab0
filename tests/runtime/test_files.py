"""Writing files: what is refused before the work, and what a replaced file keeps."""

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, expand, write_atomically

NOBODY = 65534


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.reliability(32, 48)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_replaced_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert (path.read_text(), mode_of(path)) == ("new", mode)


@pytest.mark.reliability(32)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_replaced_file_keeps_its_owner(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o640)
    write_atomically(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid, mode_of(path)) == (NOBODY, NOBODY, 0o640)


@pytest.mark.reliability(48)
@pytest.mark.parametrize("name", ["a" * 250 + ".json", "é" * 127, "🐈" * 63, "a" * 235 + ".json"])
def test_name_of_the_greatest_length_is_written(tmp_path, name):
    check_writable(tmp_path / name)
    assert not list(tmp_path.iterdir())
    write_atomically(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def dangling(folder):
    (folder / "link.json").symlink_to(folder / "missing" / "x.json")
    return folder / "link.json"


def loop(folder):
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a"


def pipe(folder):
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def read_only(folder):
    (folder / "f").write_text("old")
    (folder / "f").chmod(0o444)
    if os.geteuid() == 0:  # a folder in which the user of the test can create files
        os.chown(folder, NOBODY, NOBODY)
        os.chown(folder / "f", NOBODY, NOBODY)
    return folder / "f"


def in_a_file(folder):
    (folder / "f").write_text("old")
    return folder / "f" / "x.json"


def in_a_read_only_folder(folder):
    (folder / "ro").mkdir()
    (folder / "ro" / "x.json").write_text("old")
    (folder / "ro" / "x.json").chmod(0o666)
    (folder / "ro").chmod(0o555)
    return folder / "ro" / "x.json"


REFUSED = [
    (dangling, "link.json: its folder does not exist"),
    (loop, "Too many levels of symbolic links"),
    (pipe, "fifo: is a named pipe, not a regular file"),
    (lambda folder: folder, "is a folder, not a regular file"),
    (lambda folder: Path("/dev/null"), "/dev/null: is a device, not a regular file"),
    (lambda folder: folder / ("x" * 300), "File name too long"),
    (lambda folder: folder / "missing" / "x", "its folder does not exist"),
    (in_a_file, "Not a directory|its folder does not exist"),
]


@pytest.mark.reliability(7, 48)
@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_target_that_cannot_be_written_is_refused_before_the_work(tmp_path, make, message):
    target = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WavezooError, match=message) as raised:
        check_writable(target)
    assert raised.value.exit_code == 2
    with pytest.raises(WavezooError):
        write_atomically(target, b"x")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.reliability(7, 48)
@pytest.mark.parametrize("make", [read_only, in_a_read_only_folder])
def test_target_without_permission_is_refused_before_the_work(make):
    code = (
        "import os, sys; from pathlib import Path; from wavenet_zoo.runtime.files import check_writable\n"
        f"if os.geteuid() == 0: os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "check_writable(Path(sys.argv[1]))"
    )
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, which other users cannot enter
        Path(folder).chmod(0o755)
        target = make(Path(folder))
        result = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and f"{target}: is not writable" in result.stderr.splitlines()[-1]


def test_link_is_kept_and_its_target_replaced(tmp_path):
    (tmp_path / "link").symlink_to("target")
    check_writable(tmp_path / "link")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


@pytest.mark.reliability(48)
def test_file_that_stdout_is_written_to_is_refused(tmp_path):
    code = (
        "from pathlib import Path; from wavenet_zoo.runtime.files import check_writable\n"
        "for name in ('/dev/stdout', 'out'):\n"
        "    try: check_writable(Path(name))\n"
        "    except Exception as error: print(error)"
    )
    with (tmp_path / "out").open("w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, cwd=tmp_path, timeout=60, check=True)
    lines = (tmp_path / "out").read_text().splitlines()
    assert len(lines) == 2 and all("stdout or stderr is written to this file" in line for line in lines)


@pytest.mark.reliability(6, 48)
def test_full_disk_is_found_before_or_after_the_work(full_folder):
    for write in (check_writable, lambda path: write_atomically(path, b"x" * 9000)):
        with pytest.raises(WavezooError, match="No space left on device") as raised:
            write(full_folder / "r.json")
        assert raised.value.exit_code == 1
    assert [path.name for path in full_folder.iterdir()] == ["filler"]


@pytest.mark.reliability(5)
def test_interrupted_write_leaves_old_content_and_no_other_file(tmp_path, monkeypatch):
    (tmp_path / "f").write_text("old")

    def interrupt(*args):
        raise KeyboardInterrupt

    for module, name in ((os, "fsync"), (Path, "replace")):
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(module, name, interrupt)
            write_atomically(tmp_path / "f", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("f", "old")]


@pytest.mark.reliability(69)
def test_home_folders_are_expanded_or_refused(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand("~/x") == Path("/home/me/x") and expand("a/~b") == Path("a/~b")
    for path, message in (("~nosuchuser/x", "home folder"), ("x" * 300, "too long"), ("a\0b", "NUL")):
        with pytest.raises(WavezooError, match=message):
            expand(path)
