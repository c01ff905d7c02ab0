"""The reader of manifests: what is invalid is skipped and reported; nothing outside of the folder is opened."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from wavenet_zoo import WavezooError
from wavenet_zoo.runtime.manifest import SCHEMA, read_collection, read_manifest
from wavenet_zoo.weights.manifest import find_entry, list_entries

NAME = "waveletnet_cifar_m1.mine"
SHIPPED = read_manifest()["waveletnet_cifar_m1.digits"]
STORED = {key: value for key, value in SHIPPED.items() if key not in ("path", "manifest")}
PREPROCESSING = STORED["preprocessing"]
RESULT = STORED["results"]["digits/test"]


@pytest.fixture
def collection(tmp_path):
    """Write a manifest of entries that differ from a valid one by the given values; None removes a key."""

    def write(*changes, text=None):
        folder = tmp_path / "collection"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "own.safetensors").write_bytes(b"weights")
        entries = [{**STORED, "name": NAME, "file": "own.safetensors", **change} for change in changes]
        entries = [{key: value for key, value in entry.items() if value is not None} for entry in entries]
        content = json.dumps({"schema": SCHEMA, "checkpoints": entries}) if text is None else text
        (folder / "manifest.json").write_text(content)
        return folder

    return write


@pytest.fixture
def use(monkeypatch):
    """Make a folder the user's collection for a test."""

    def use(folder):
        monkeypatch.setenv("WAVEZOO_CHECKPOINTS", str(folder))
        read_manifest.cache_clear()

    yield use
    read_manifest.cache_clear()


def test_a_valid_entry_is_read_with_the_path_of_its_file(collection):
    folder = collection({}, {"name": "waveletnet_cifar_m1.far", "file": None, "hub": "org/name@main", "path": "/x"})
    found = read_collection(folder)
    assert found.entries[NAME]["path"] == str(folder / "own.safetensors") and not found.skipped
    assert "path" not in found.entries["waveletnet_cifar_m1.far"]


@pytest.mark.reliability(23, 31, 57)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, None) for key in ("sha256", "size", "description", "license", "classes", "preprocessing", "file")),
        *(("file", file) for file in ("../own.safetensors", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "\0", 5, [])),
        *(("hub", hub) for hub in ("", "@", "a/b/c", "../../etc", "http://127.0.0.1:9/x", "org/na me", "name")),
        *(("hub", f"org/name@{revision}") for revision in ("", "../../x", "x" * 500, "\n", "a b")),
        *(("name", name) for name in ("", "x", "x.", ".x", "x.a/b", "x.\x1b[2J", 5, ["x"])),
        *(("sha256", sha256) for sha256 in ("A" * 1000, "0" * 63, 5)),
        *(("size", size) for size in ("9", -1, 1.5, True)),
        *(("classes", classes) for classes in ("abc", 5, [], [1])),
        *(("results", results) for results in ([], 5, {"a/b": {}}, {"a/b": 5}, {"a/b": [5]})),
        *(("results", {"a/b": {**RESULT, key: value}}) for key, value in (
            ("top1", "high"), ("top1", 101), ("top1", float("nan")), ("images", 0), ("images", None),
            ("correct_top1", -1), ("loss", float("inf")),
        )),
        *(("preprocessing", {**PREPROCESSING, key: value}) for key, value in (
            ("mean", 5), ("std", [0.5, 0, 0.5]), ("input_size", [3, 32]), ("input_size", [3, 0, 32]),
            ("crop_pct", 0), ("crop_pct", float("nan")), ("interpolation", 3),
        )),
        ("preprocessing", []),
    ],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_an_invalid_entry_is_skipped_with_its_name_and_key(collection, key, value):
    change = {key: value, **({"file": None} if key == "hub" else {})}
    found = read_collection(collection(change, {"name": "waveletnet_cifar_m1.good"}))
    assert list(found.entries) == ["waveletnet_cifar_m1.good"]
    ((name, reason),) = found.skipped.items()
    assert name == str(value if key == "name" and value is not None else NAME) and f"'{key}" in reason
    assert len(reason) < 200 and reason.isprintable()


@pytest.mark.reliability(23, 31, 66)
@pytest.mark.parametrize("value", [[], "x", None, 5])
def test_an_entry_that_is_not_an_object_is_skipped(collection, value):
    folder = collection({})
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "checkpoints": [value, *manifest["checkpoints"]]}))
    found = read_collection(folder)
    assert list(found.entries) == [NAME] and found.skipped == {"entry 1": "is not a JSON object"}


def test_the_second_entry_of_a_name_is_skipped(collection):
    found = read_collection(collection({"license": "mit"}, {"license": "other"}))
    assert found.entries[NAME]["license"] == "mit" and found.skipped == {NAME: "duplicate name"}


@pytest.mark.reliability(23, 57)
def test_links_may_not_lead_out_of_the_folder(collection, tmp_path):
    folder = collection({})
    (folder / "own.safetensors").rename(tmp_path / "outside.safetensors")
    (folder / "own.safetensors").symlink_to(tmp_path / "outside.safetensors")
    assert read_collection(folder).skipped == {NAME: "file: own.safetensors is a link that leads out of the folder"}
    (folder / "manifest.json").rename(tmp_path / "manifest.json")  # as in the Hub's cache: all files are links
    (folder / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert list(read_collection(folder).entries) == [NAME]
    (tmp_path / "link").symlink_to(folder)
    assert list(read_collection(tmp_path / "link").entries) == [NAME]


@pytest.mark.reliability(49)
def test_entries_whose_file_is_missing_or_special_are_skipped(collection):
    folder = collection({})
    (folder / "own.safetensors").unlink()
    assert read_collection(folder).skipped == {NAME: "file: own.safetensors does not exist"}
    os.mkfifo(folder / "own.safetensors")
    assert read_collection(folder).skipped == {NAME: "file: own.safetensors is not a file"}


def no_manifest(folder, kind):
    path = folder / "manifest.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(20 * 2**30)
    elif kind == "folder":
        path.mkdir()


@pytest.mark.reliability(31, 49)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"), ("[", "not valid JSON"), ("\0", "not valid JSON"), ("[]", "not a JSON object"),
        ("[" * 100_000, "nested too deep"), ('{"schema": ' + "[" * 500 + "]" * 500 + "}", "nested too deep"),
        ("{}", "not a manifest"), ('{"schema": "wavenet_zoo.checkpoints/1"}', "not a manifest"),
        ('{"schema": "wavenet_zoo.checkpoints/1", "checkpoints": {}}', "not a manifest"),
        ("missing", "cannot be read: No such file"), ("pipe", "is a named pipe"), ("device", "is a device"),
        ("sparse", "the limit is"), ("folder", "cannot be read: is a folder"),
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_manifest_that_cannot_be_read_is_one_error(collection, use, caplog, text, reason):
    kind = text if text.isalpha() else None
    folder = collection(text=text)
    if kind:
        no_manifest(folder, kind)
    with pytest.raises(WavezooError, match=reason) as error:
        read_collection(folder)
    assert str(folder) in str(error.value) and len(str(error.value)) < 300
    use(folder)
    assert "waveletnet_cifar_m1.digits" in list_entries()  # the shipped ones remain
    (record,) = caplog.records
    assert f"WAVEZOO_CHECKPOINTS={folder}: ignored: " in record.message and reason in record.message


@pytest.mark.reliability(31)
def test_skipped_entries_are_logged_in_one_line_and_explained(collection, use, caplog):
    folder = collection(*({"name": f"x.{i}", "sha256": "\x1b[2J"} for i in range(9)), {"data": 5})
    use(folder)
    assert "x.0" not in list_entries() and NAME not in list_entries()
    first, *others = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"{folder}/manifest.json: skipped: x.0: invalid key 'sha256'")
    assert first.endswith("; and 6 more")
    assert first.isprintable() and f"{folder}/manifest.json: {NAME}: invalid key 'data'" in others[0]
    for name, key in (("x.8", "sha256"), (NAME, "data")):
        with pytest.raises(WavezooError, match=f"collection/manifest.json: {name}: invalid key '{key}'"):
            find_entry(name)


@pytest.mark.reliability(31)
def test_invalid_entries_of_a_collection_fail_verification(collection, use, wavezoo):
    other = "waveletnet_cifar_m1.other"
    use(collection({"size": "x"}, {"name": other, "seed": "x"}))
    finished = wavezoo("weights", "list")
    assert finished.code == 0 and "shipped" in finished.out and NAME not in finished.out
    assert "'size'" in finished.err and "'seed'" in finished.err and len(finished.err.splitlines()) == 2
    verified = wavezoo("weights", "verify", "--quiet", "--json")
    failed = [entry for entry in verified.json if entry["state"] == "failed"]
    assert verified.code == 3 and [entry["name"] for entry in failed] == [NAME, other]
    assert "'size'" in failed[0]["detail"] and "'seed'" in failed[1]["detail"]


@pytest.mark.reliability(31, 66)
@pytest.mark.parametrize(
    "text", ["[" * 100_000, "pipe", '{"schema": "wavenet_zoo.checkpoints/1", "checkpoints": [[]]}']
)
def test_import_succeeds_with_an_invalid_manifest(collection, text):
    folder = collection(text=text)
    if text.isalpha():
        no_manifest(folder, text)
    code = "import timm, wavenet_zoo; print(timm.create_model('waveletnet_cifar_m1', pretrained=True).num_classes)"
    environment = {**os.environ, "WAVEZOO_CHECKPOINTS": str(folder)}
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert finished.stdout == "10\n" and len(finished.stderr.splitlines()) == 1


def test_listing_weights_imports_neither_torch_nor_timm(collection):
    folder = collection({"name": "waveletnet_cifar_m1.far", "file": None, "hub": "org/name@main"})
    code = (
        "import sys, wavenet_zoo.cli.main as m\n"
        "try: m.cli(['weights', 'list'])\n"
        "except SystemExit as e: assert not e.code\n"
        "print({'torch', 'timm', 'torchvision'} & set(sys.modules))"
    )
    environment = {**os.environ, "WAVEZOO_CHECKPOINTS": str(folder)}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "set()" and "not downloaded: org/name@main" in finished.stdout
