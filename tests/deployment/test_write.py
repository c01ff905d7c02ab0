"""Files of an export: all of them are written, or none."""

import os
import stat

import pytest

from wavenet_zoo.deployment.formats import FORMATS
from wavenet_zoo.deployment.write import check_files_writable, write_files
from wavenet_zoo.errors import WavezooError

NCNN = FORMATS["ncnn"]
COREML = FORMATS["coreml"]
PARTS = {".ncnn.param": b"graph", ".ncnn.bin": b"weights"}
PACKAGE = {".mlpackage/Manifest.json": b"{}", ".mlpackage/Data/weights/weight.bin": b"new"}


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_companion_and_sidecar_are_written_beside_the_file(tmp_path):
    write_files(tmp_path / "m1.ncnn.param", NCNN, PARTS, b"sidecar")
    assert contents(tmp_path) == {
        "m1.ncnn.param": b"graph",
        "m1.ncnn.bin": b"weights",
        "m1.ncnn.param.json": b"sidecar",
    }


@pytest.mark.parametrize("existing", ["m1.ncnn.param", "m1.ncnn.bin", "m1.ncnn.param.json"])
def test_existing_file_of_an_export_is_replaced_with_force_only(existing, tmp_path):
    (tmp_path / existing).write_text("old")
    with pytest.raises(WavezooError, match=f"{existing}: exists already"):
        check_files_writable(tmp_path / "m1.ncnn.param", NCNN, overwrite=False)
    check_files_writable(tmp_path / "m1.ncnn.param", NCNN, overwrite=True)
    assert contents(tmp_path) == {existing: b"old"}


def test_existing_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "m1.mlpackage"
    write_files(path, COREML, {**PACKAGE, ".mlpackage/Data/old.bin": b"old"}, b"old")
    with pytest.raises(WavezooError, match=r"m1\.mlpackage: exists already"):
        check_files_writable(path, COREML, overwrite=False)
    check_files_writable(path, COREML, overwrite=True)
    write_files(path, COREML, PACKAGE, b"sidecar")
    assert contents(tmp_path) == {
        "m1.mlpackage/Manifest.json": b"{}",
        "m1.mlpackage/Data/weights/weight.bin": b"new",
        "m1.mlpackage.json": b"sidecar",
    }
    assert len(list(tmp_path.iterdir())) == 2


def test_link_to_a_folder_is_kept_and_its_target_replaced(tmp_path):
    (tmp_path / "disk" / "m1.mlpackage").mkdir(parents=True)
    (tmp_path / "m1.mlpackage").symlink_to("disk/m1.mlpackage")
    write_files(tmp_path / "m1.mlpackage", COREML, PACKAGE, b"sidecar")
    assert (tmp_path / "m1.mlpackage").is_symlink()
    assert (tmp_path / "disk" / "m1.mlpackage" / "Manifest.json").read_bytes() == b"{}"


def test_folder_has_the_permissions_of_the_umask(tmp_path):
    umask = os.umask(0o027)
    try:
        write_files(tmp_path / "m1.mlpackage", COREML, PACKAGE, b"")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "m1.mlpackage").stat().st_mode) == 0o750


@pytest.mark.reliability(6)
def test_full_disk_leaves_no_part_of_an_export(disk):
    folder = disk()
    with pytest.raises(WavezooError, match=r"m1\.ncnn\.param: cannot be written: No space left"):
        write_files(folder / "m1.ncnn.param", NCNN, {".ncnn.param": bytes(3 * 2**20), ".ncnn.bin": bytes(2**21)}, b"")
    with pytest.raises(WavezooError, match=r"m1\.mlpackage: cannot be written: No space left"):
        write_files(folder / "m1.mlpackage", COREML, {**PACKAGE, ".mlpackage/Data/w": bytes(5 * 2**20)}, b"")
    assert not list(folder.iterdir())


@pytest.mark.reliability(6)
def test_full_disk_leaves_an_existing_folder_unchanged(disk):
    folder = disk()
    write_files(folder / "m1.mlpackage", COREML, PACKAGE, b"old")
    before = contents(folder)
    with pytest.raises(WavezooError, match="No space left"):
        write_files(folder / "m1.mlpackage", COREML, {**PACKAGE, ".mlpackage/Data/w": bytes(5 * 2**20)}, b"new")
    assert contents(folder) == before


def test_failed_write_removes_the_files_written_before_it(tmp_path):
    (tmp_path / "m1.ncnn.param").mkdir()
    (tmp_path / "m1.ncnn.bin").write_text("old")
    with pytest.raises(WavezooError, match=r"m1\.ncnn\.param: is a folder"):
        write_files(tmp_path / "m1.ncnn.param", NCNN, PARTS, b"sidecar")
    assert contents(tmp_path) == {"m1.ncnn.bin": b"weights"}  # existed before
