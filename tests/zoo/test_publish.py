"""``wavezoo publish``: the real clients with a local Hub."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from wavenet_zoo import WavezooError, count, evaluate, publish, train
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.runtime.records import write_json
from wavenet_zoo.weights.files import read_metadata, weights_bytes
from wavenet_zoo.zoo.card import model_card
from wavenet_zoo.zoo.package import make_package
from wavenet_zoo.zoo.record import EvaluationRecord

REPO = "zoo/waveletnet-digits"
FILES = {"model.safetensors", "config.json", "modeling.py", "README.md", "recipe.yaml", "results.json"}
LOGITS = """
import json, sys, timm, torch, wavenet_zoo
def logits(name):
    model = timm.create_model(name, pretrained=True).eval()
    with torch.no_grad():
        return model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).tolist()
print(json.dumps([logits(name) for name in sys.argv[1:]]))
"""


def arguments(weights, *more):
    return ["publish", "waveletnet_cifar_m1", "--weights", weights, "--repo", REPO, *more]


def expected_logits():
    import timm

    import wavenet_zoo  # noqa: F401

    model = timm.create_model("waveletnet_cifar_m1", pretrained=True).eval()
    with torch.no_grad():
        return model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def assert_published(hub, weights):
    files = hub.repositories[REPO].files
    assert set(files) == FILES | {".gitattributes"}
    assert files["model.safetensors"] == weights.read_bytes()
    assert len(hub.repositories[REPO].commits) == 2  # that of its creation, and ours


@pytest.mark.reliability(30)
def test_a_fresh_process_loads_published_weights_from_every_source(hub, run, weights, tmp_path):
    finished = run(*arguments(weights, "--json"))
    assert finished.returncode == 0, finished.stderr
    assert_published(hub, weights)
    published = json.loads(finished.stdout)
    assert published["revision"] == hub.repositories[REPO].head and published["changed"]

    collection, local = tmp_path / "collection", tmp_path / "local"
    collection.mkdir()
    entry = {**published["entry"], "name": "waveletnet_cifar_m1.published"}
    manifest = {"schema": "wavenet_zoo.checkpoints/1", "checkpoints": [entry]}
    (collection / "manifest.json").write_text(json.dumps(manifest))
    local.mkdir()
    for name, content in hub.repositories[REPO].files.items():
        (local / name).write_bytes(content)
    forms = ["waveletnet_cifar_m1.published", f"hf-hub:{REPO}", f"local-dir:{local}"]
    loaded = run("-c", LOGITS, *forms, home="empty", token=None, WAVEZOO_CHECKPOINTS=str(collection))
    assert loaded.returncode == 0, loaded.stderr
    for logits in json.loads(loaded.stdout):
        torch.testing.assert_close(torch.tensor(logits), expected_logits(), rtol=0, atol=1e-5)


@pytest.mark.reliability(30)
@pytest.mark.long
@pytest.mark.parametrize("hub", ["xet"], indirect=True)
def test_xet_gives_the_same_weights_and_uploads_them_once(hub, run, weights):
    finished = run(*arguments(weights), HF_HUB_DISABLE_XET=None)
    if finished.returncode and "local://" in finished.stderr:
        pytest.skip(f"hf_xet no longer takes local://: {finished.stderr.splitlines()[-1]}")
    assert finished.returncode == 0, finished.stderr
    assert_published(hub, weights)
    assert not hub.count("PUT /_lfs/") and hub.count("xet-write-token")
    loaded = run("-c", LOGITS, f"hf-hub:{REPO}", home="empty", token=None, HF_HUB_DISABLE_XET=None)
    assert loaded.returncode == 0, loaded.stderr
    torch.testing.assert_close(torch.tensor(json.loads(loaded.stdout)[0]), expected_logits(), rtol=0, atol=1e-5)
    assert hub.count("xet-read-token")
    assert run(*arguments(weights), HF_HUB_DISABLE_XET=None).returncode == 0
    assert len(hub.repositories[REPO].commits) == 2


@pytest.mark.reliability(29)
def test_one_commit_has_all_files_and_a_card_of_measured_figures(hub, run, weights):
    finished = run(*arguments(weights))
    assert finished.returncode == 0, finished.stderr
    assert_published(hub, weights)
    assert "import timm, wavenet_zoo" in finished.stdout and '"hub": "zoo/waveletnet-digits@' in finished.stdout
    assert "hf_write" not in finished.stdout + finished.stderr
    assert hub.received == [""]  # the store of large files is not told the token
    files = {
        name: content.decode() for name, content in hub.repositories[REPO].files.items() if name != "model.safetensors"
    }
    record = json.loads((weights.parent / "evaluation.json").read_text())
    card = ModelCard(files["README.md"])
    (top1, top5) = card.data.eval_results
    assert (top1.metric_value, top5.metric_value) == (round(record["top1"], 4), round(record["top5"], 4))
    assert f"{record['correct_top1']} of {record['images']}" in files["README.md"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in files["README.md"] and "18,714" in files["README.md"]
    assert "import wavenet_zoo" in files["README.md"] and card.data.license == "apache-2.0"
    config = json.loads(files["config.json"])
    assert config["architecture"] == "waveletnet_cifar_m1" and config["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    assert config["num_classes"] == 10 and "num_classes" not in config["model_args"]  # transformers passes both
    for reference in config["auto_map"].values():
        module, _, name = reference.partition(".")
        assert f"class {name}(" in files[f"{module}.py"]
    assert json.loads(files["results.json"])["top1"] == record["top1"]
    for text in files.values():
        assert "/tmp" not in text and record["weights"]["name"] not in text and "SECRET" not in text

    before = len(hub.requests)
    again = run(*arguments(weights))
    assert again.returncode == 0 and "nothing was uploaded" in again.stderr
    assert not [r for r in hub.requests[before:] if r in hub.writes] and len(hub.repositories[REPO].commits) == 2


@pytest.mark.long
def test_a_dry_run_writes_files_prints_the_card_and_sends_nothing(hub, run, weights, tmp_path):
    finished = run(*arguments(weights, "--dry-run"), token=None)
    assert finished.returncode == 0, finished.stderr
    folder = tmp_path / "publications" / REPO
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "README.md").read_text() in finished.stdout
    assert not hub.requests
    assert run(*arguments(weights, "--dry-run"), token=None).returncode == 0  # again, over itself
    (folder / "mine.txt").touch()
    refused = run(*arguments(weights, "--dry-run"), token=None)
    assert refused.returncode == 2 and "mine.txt" in refused.stderr


@pytest.mark.long
def test_a_pull_request_does_not_change_the_main_branch(hub, run, weights):
    hub.create(REPO)
    head = hub.repositories[REPO].head
    finished = run(*arguments(weights, "--pr", "--json"))
    assert finished.returncode == 0, finished.stderr
    assert "discussions/1" in json.loads(finished.stdout)["url"]
    assert hub.repositories[REPO].head == head


@pytest.mark.long
def test_private_creates_a_private_repository(hub, run, weights):
    assert run(*arguments(weights, "--private")).returncode == 0
    assert hub.repositories[REPO].private


def test_the_card_names_the_commits_of_training_and_evaluation(weights):
    package = make_package("waveletnet_cifar_m1", weights, REPO)
    cost, record = count("waveletnet_cifar_m1"), package.record.model_copy(deep=True)
    record.environment.git = {"commit": "e" * 40, "dirty": False}
    metadata = package.metadata.model_copy(update={"git": {"commit": "a" * 40, "dirty": True}})
    card = " ".join(model_card(REPO, "mit", metadata, record, cost, "0" * 64).split())
    trained, evaluated = card.partition("Trained with ")[2].split(". Evaluated with ")
    assert trained.endswith(", commit aaaaaaaaaaaa (modified)") and ", commit eeeeeeeeeeee. `recipe" in evaluated
    record.environment.git = None
    card = model_card(REPO, "mit", metadata.model_copy(update={"git": None}), record, cost, "0" * 64)
    assert "commit" not in card


def test_a_dry_run_leaves_global_state_unchanged(weights, tmp_path, unchanged_state):
    with unchanged_state():
        publish("waveletnet_cifar_m1", weights, REPO, dry_run=True, out=tmp_path / "out")


@pytest.mark.long
def test_publishing_leaves_the_session_and_generators_unchanged(run, weights):
    code = """
import sys, torch, wavenet_zoo
from huggingface_hub import get_session
def state():
    return str(get_session().timeout), torch.random.get_rng_state().tolist()
before = state()
assert wavenet_zoo.publish("waveletnet_cifar_m1", sys.argv[1], sys.argv[2]).changed
assert state() == before
"""
    finished = run("-c", code, weights, REPO)
    assert finished.returncode == 0, finished.stderr


def test_record_is_a_deprecated_name_of_write_manifest(wavezoo, weights, monkeypatch, tmp_path):
    finished = wavezoo(*arguments(weights, "--dry-run", "--record"))
    assert finished.code == 0 and "--record is deprecated: use --write-manifest" in finished.err
    monkeypatch.setattr("wavenet_zoo.zoo.publish.CHECKOUT", tmp_path)
    finished = wavezoo(*arguments(weights, "--write-manifest"))
    assert finished.code == 2 and "requires a checkout" in finished.err


# ------------------------------------------------------------------------------------------------------------- refusals


def refused(reason, weights, repo=REPO, **more):
    with pytest.raises(WavezooError, match=reason) as error:
        make_package("waveletnet_cifar_m1", weights, repo, **more)
    assert "\n" not in str(error.value)


@pytest.mark.reliability(27)
def test_invalid_input_is_refused_before_any_request(weights, tmp_path):
    for repo in ("noslash", "a/b/c", "zoo/na me", "zoo/..", ""):
        refused("--repo", weights, repo)
    refused("weights file not found", tmp_path / "nowhere.safetensors")
    refused("only safetensors", weights.parent / "last.pt")
    with pytest.raises(WavezooError, match="weights of waveletnet_cifar_m1, not of waveletnet_cifar_m2"):
        make_package("waveletnet_cifar_m2", weights, REPO)
    (weights.parent / "evaluation.json").rename(tmp_path / "elsewhere.json")
    refused("evaluation record of .* not found", weights)
    make_package("waveletnet_cifar_m1", weights, REPO, tmp_path / "elsewhere.json")
    record = json.loads((tmp_path / "elsewhere.json").read_text())
    for change, reason in (
        ({"weights": {**record["weights"], "sha256": "0" * 64}}, "other weights"),
        ({"skipped": ["one.png"]}, "1 images were skipped"),
        ({"data": None}, "invalid key 'data'"),
        ({"data": {**record["data"], "fingerprint": 1}}, "invalid key 'data.fingerprint'"),
        ({"top1": "high"}, "invalid key 'top1'"),
    ):
        (weights.parent / "evaluation.json").write_text(json.dumps({**record, **change}))
        refused(reason, weights)


@pytest.fixture
def changed(weights):
    """Change the metadata of the weights, and the evaluation record: a function of its values."""

    def change(record=lambda values: None, **metadata):
        own = read_metadata(weights).model_copy(update=metadata)
        weights.write_bytes(weights_bytes(load_file(weights), own))
        path = weights.parent / "evaluation.json"
        values = json.loads(path.read_text())
        values["weights"]["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        record(values)
        path.write_text(json.dumps(values))
        return weights

    return change


@pytest.mark.reliability(27)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"top1": 99.9}, "top1 is 99.9 %, but 356 of 360 images are correct"),
        ({"top5": 50.0}, "top5 is 50 %, but 360 of 360"),
        ({"correct_top1": 10**6}, "correct of 360 images"),
        ({"images": 0}, "invalid key 'images'"),
        ({"images": None}, "invalid key 'images'"),
        ({"top1": float("nan")}, "invalid key 'top1'"),
        ({"loss": float("inf")}, "invalid key 'loss'"),
        ({"skipped": "abc"}, "invalid key 'skipped'"),
        ({"limit": {"images": 20, "of": 100}}, "is a limited evaluation of 20 of 100 images"),
        ({"among": "data"}, "is scored among the classes of the data"),
        ({"label_set": {"name": "imagenet-real", "description": ""}}, "is scored with the labels of ImageNet-ReaL"),
    ],
)
def test_a_record_whose_values_do_not_agree_is_refused(changed, change, reason):
    refused(reason, changed(lambda values: values.update(change)))


@pytest.mark.reliability(29, 59)
@pytest.mark.parametrize(
    ("metadata", "record", "key"),
    [
        ({"data": "/home/alice/photos"}, {}, "metadata: data"),
        ({"data": "~/photos"}, {}, "metadata: data"),
        ({"data": "C:\\Users\\alice\\photos"}, {}, "metadata: data"),
        ({"versions": {"mine": "0.1 @ file:///home/alice"}}, {}, "metadata: versions.mine"),
        ({"recipe": "../alice/mine"}, {}, "metadata: recipe"),
        ({}, {"command": "wavezoo eval --data=/home/alice/photos"}, "evaluation.json: command"),
        ({}, {"mine": {"file:///home/alice": 1}}, "evaluation.json: mine"),
    ],
)
def test_a_path_of_this_machine_is_refused_with_its_key(changed, metadata, record, key):
    refused(f"{re.escape(key)}.*is a path of this machine", changed(lambda values: values.update(record), **metadata))


@pytest.mark.reliability(29, 59)
def test_the_path_of_images_and_model_becomes_a_name(changed):
    def record(values):
        values["data"].update(name="/home/alice/photos", fingerprint="0" * 64)
        values["model"] = "local-dir:/home/alice/model"

    package = make_package("waveletnet_cifar_m1", changed(record, classes=["/m/01g317", *"123456789"]), REPO)
    texts = {name: content.decode() for name, content in package.files.items() if name != "model.safetensors"}
    assert not [name for name, text in texts.items() if "alice" in text]
    assert "evaluated on | photos, " in texts["README.md"] and "/m/01g317" in texts["config.json"]
    assert ModelCard(texts["README.md"]).data.eval_results[0].dataset_name == "photos"


@pytest.mark.reliability(29, 59)
def test_the_recipe_names_the_file_of_initial_weights(changed, weights):
    recipe = load_recipe("digits", ["model.pretrained=/home/alice/first.safetensors"])
    (weights.parent / "recipe.yaml").write_text(recipe.to_yaml())
    text = make_package("waveletnet_cifar_m1", changed(recipe_sha256=recipe.sha256()), REPO).files["recipe.yaml"]
    assert b"pretrained: first.safetensors" in text and b"alice" not in text
    assert recipe.sha256().encode() in text.splitlines()[0]


def test_a_card_is_not_broken_by_the_name_of_the_images(changed):
    def record(values):
        values["data"].update(name="a | b\n---\nlicense: evil", fingerprint="0" * 64)

    card = make_package("waveletnet_cifar_m1", changed(record), REPO).files["README.md"].decode()
    assert ModelCard(card).data.license == "apache-2.0" and "\nlicense: evil" not in card.partition("\n---\n")[2]
    assert "| evaluated on | a \\| b --- license: evil, " in card


@pytest.mark.parametrize(
    ("classes", "epoch", "top5", "words"),
    [(10, 20, True, "20 epochs"), (6, 1, True, "1 epoch,"), (5, 0, False, "0 epo")],
)
def test_a_card_has_top5_only_for_more_than_five_classes(weights, classes, epoch, top5, words):
    package = make_package("waveletnet_cifar_m1", weights, REPO)
    names = [str(i) for i in range(classes)]
    metadata = package.metadata.model_copy(update={"classes": names, "epoch": epoch})
    card = model_card(REPO, "mit", metadata, package.record, count("waveletnet_cifar_m1"), "0" * 64)
    assert [result.metric_name for result in ModelCard(card).data.eval_results] == ["top-1", "top-5"][: 1 + top5]
    assert ("top-5" in card.partition("# ")[2]) == top5 and words in card


def test_the_command_of_a_card_repeats_the_evaluation(weights):
    def command(**changes):
        record = EvaluationRecord.model_validate({**package.record.model_dump(), **changes})
        card = model_card(REPO, "mit", package.metadata, record, count("waveletnet_cifar_m1"), "0" * 64)
        return card.partition("```sh\n")[2].partition("\n```")[0]

    package = make_package("waveletnet_cifar_m1", weights, REPO)
    first = f"wavezoo eval hf-hub:{REPO} --data"
    assert command() == f"{first} digits --split test"
    data = package.record.data.model_dump()
    assert command(data={**data, "name": "my photos", "split": ""}) == f"{first} 'my photos'"
    preprocessing = {**package.record.preprocessing.to_dict(), "input_size": (3, 64, 64), "crop_pct": 0.5}
    options = "--precision bf16 --size 64 --crop-pct 0.5 --interpolation bicubic"
    assert command(preprocessing=preprocessing, precision="bf16") == f"{first} digits --split test {options}"


def test_a_missing_record_is_requested_with_the_data_option(changed):
    for data, option in (("digits", ""), ("my photos", " --data DIR")):
        weights = changed(data=data)
        with pytest.raises(WavezooError, match=f"--weights {weights}{option} --save-json"):
            make_package("waveletnet_cifar_m1", weights, REPO, "nowhere.json")


def test_an_invalid_tag_is_refused_before_the_upload(weights, tmp_path):
    for options in ({}, {"dry_run": True, "out": tmp_path / "out"}):
        with pytest.raises(WavezooError, match=r"waveletnet_cifar_m1\.a/b: invalid key 'name': must be"):
            publish("waveletnet_cifar_m1", weights, REPO, tag="a/b", **options)
    assert not (tmp_path / "out").exists()


def test_the_default_tag_has_letters_digits_and_underscores(changed, tmp_path):
    weights = changed(data="hfds/My-Org/Photos 2")
    published = publish("waveletnet_cifar_m1", weights, REPO, dry_run=True, out=tmp_path / "out")
    assert published.entry["name"] == "waveletnet_cifar_m1.hfds_my_org_photos_2"


def test_a_dry_run_into_a_file_is_one_error(weights, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WavezooError, match=r"file: cannot be written: File exists"):
        publish("waveletnet_cifar_m1", weights, REPO, dry_run=True, out=tmp_path / "file")


@pytest.mark.reliability(27)
def test_damaged_or_not_finite_weights_are_refused(weights, tmp_path):
    tensors = load_file(weights)
    content = weights.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    tensors["classifier.bias"][0] = float("nan")
    save_file(tensors, weights, header["__metadata__"])
    refused("classifier.bias has values that are not finite", weights)
    weights.write_bytes(weights.read_bytes()[:-100])
    refused("truncated", weights)


def test_a_recipe_of_other_weights_is_refused(weights, monkeypatch):
    monkeypatch.setattr("wavenet_zoo.zoo.package.list_recipes", dict)
    make_package("waveletnet_cifar_m1", weights, REPO)
    recipe = weights.parent / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 0", "seed: 1"))
    refused("its recipe .* is neither beside it nor shipped", weights)


@pytest.mark.reliability(26)
@pytest.mark.parametrize(
    ("token", "repo", "reason"),
    [
        (None, REPO, "no token for the Hub"),
        pytest.param("hf_read", REPO, "is read-only", marks=pytest.mark.long),
        pytest.param("hf_write", "others/model", "may not publish under 'others'", marks=pytest.mark.long),
        pytest.param("hf_wrong", REPO, "is invalid", marks=pytest.mark.long),
    ],
)
def test_a_missing_or_insufficient_token_is_refused(hub, run, weights, token, repo, reason):
    finished = run("publish", "waveletnet_cifar_m1", "--weights", weights, "--repo", repo, token=token)
    assert finished.returncode == 2 and len(finished.stderr.splitlines()) == 1 and reason in finished.stderr
    assert not hub.writes and not hub.repositories
    assert not token or token not in finished.stderr


# --------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.reliability(28)
@pytest.mark.long
@pytest.mark.parametrize(
    ("pattern", "action", "times"),
    [
        ("GET /api/whoami", 503, 2),
        ("POST /api/repos/create", 500, 1),
        ("POST .*/preupload/", 429, 1),
        ("PUT /_lfs/", 500, 1),
        ("PUT /_lfs/", "drop", 1),
        ("POST .*/commit/", 502, 1),
        ("POST .*/commit/", "drop", 1),
        ("GET .*/resolve/.*/model.safetensors", "truncate", 1),
        ("GET .*/resolve/.*/config.json", 500, 1),
    ],
)
def test_transient_errors_are_retried_until_it_succeeds(hub, fault, run, weights, pattern, action, times):
    hub.faults.append(fault(pattern, action, times))
    finished = run(*arguments(weights))
    assert finished.returncode == 0, finished.stderr
    assert hub.faults[0].times == 0
    assert_published(hub, weights)


@pytest.mark.reliability(28)
@pytest.mark.long
@pytest.mark.parametrize(
    ("pattern", "action", "reason"),
    [
        ("POST .*/commit/", 500, "uploading the files: 500"),
        ("PUT /_lfs/", "drop", "uploading the files"),
        ("POST .*/commit/", 403, "lacks the permission"),
        ("POST .*/commit/", 412, "was changed by another commit"),
        ("GET /api/whoami", 500, "reading the owner of the token"),
    ],
)
def test_lasting_errors_end_in_one_line_and_change_nothing(hub, fault, run, weights, pattern, action, reason):
    hub.create(REPO)
    head = hub.repositories[REPO].head
    hub.faults.append(fault(pattern, action, 1000))
    finished = run(*arguments(weights), timeout=300)
    assert finished.returncode in (1, 2)
    *notes, last = finished.stderr.splitlines()
    assert last.startswith("error: Hub: ") and reason in last, finished.stderr
    assert "Traceback" not in finished.stderr
    for note in notes:  # ours, and those of the Hub's client
        assert (
            note.startswith(("warning: Hub: ", "Retrying in "))
            or "thrown while requesting" in note
            or "HTTP Error" in note
        )
    assert "hf_write" not in finished.stderr + finished.stdout
    assert hub.repositories[REPO].head == head


@pytest.mark.reliability(26)
@pytest.mark.long
def test_no_traceback_contains_the_token(hub, fault, run, weights):
    hub.faults.append(fault("POST .*/commit/", 403, 1000))
    finished = run(*arguments(weights, "--debug"), WAVEZOO_DEBUG="1", HF_DEBUG="1")
    assert "Traceback" in finished.stderr and "hf_write" not in finished.stderr + finished.stdout
    assert "fault 403, Bearer hf_***" in finished.stderr.splitlines()[-1]


@pytest.mark.reliability(28)
@pytest.mark.long
def test_a_hub_that_does_not_answer_is_retried(hub, fault, run, weights):
    hub.faults.append(fault("GET /api/whoami", "hang", 1))
    hub.faults.append(fault("POST .*/commit/", "hang", 1))
    finished = run(*arguments(weights), HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("; retrying in ") == 2
    assert_published(hub, weights)


@pytest.mark.reliability(30)
@pytest.mark.long
def test_a_byte_flipped_in_the_download_is_found(hub, fault, run, weights):
    hub.faults.append(fault("GET .*/resolve/.*/model.safetensors", "flip", 1000))
    finished = run(*arguments(weights))
    assert finished.returncode == 1 and "model.safetensors differs after the download" in finished.stderr


@pytest.mark.reliability(28)
@pytest.mark.long
def test_a_commit_whose_answer_is_lost_is_not_repeated(hub, fault, run, weights, monkeypatch):
    import hub_server

    answer = hub_server._Handler.commit

    def lost(handler, **names):  # made, and then the line is cut
        made = answer(handler, **names)
        hub.lost = getattr(hub, "lost", 0) + 1
        return (lambda: handler.connection.shutdown(socket.SHUT_RDWR)) if hub.lost == 1 else made

    routes = [(m, p, lost if h is answer else h) for m, p, h in hub_server._ROUTES]
    monkeypatch.setattr(hub_server, "_ROUTES", routes)
    finished = run(*arguments(weights))
    assert finished.returncode == 0, finished.stderr
    assert_published(hub, weights)


@pytest.mark.reliability(28)
@pytest.mark.long
def test_after_a_kill_before_the_commit_weights_are_uploaded_once(hub, fault, run, environment, weights, tmp_path):
    hub.faults.append(fault("POST .*/commit/", "hang", 1))
    command = [sys.executable, "-m", "wavenet_zoo", *map(str, arguments(weights))]
    killed = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not hub.count("POST .*/commit/") and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert hub.count("PUT /_lfs/") == 1 and len(hub.repositories[REPO].commits) == 1
    finished = run(*arguments(weights))
    assert finished.returncode == 0, finished.stderr
    assert_published(hub, weights)
    assert hub.count("PUT /_lfs/") == 1


@pytest.mark.long
def test_a_hub_without_xet_gives_advice(hub, run, weights):
    pytest.importorskip("hf_xet")
    finished = run(*arguments(weights), HF_HUB_DISABLE_XET=None)
    assert finished.returncode in (1, 2) and "HF_HUB_DISABLE_XET=1" in finished.stderr
    assert len(hub.repositories[REPO].commits) == 1


@pytest.mark.long
def test_weights_with_model_arguments_load_with_them_without_a_tag(hub, run, small_digits, tmp_path):
    overrides = ["schedule.epochs=1", "batch_size=50", "model.kwargs.use_dfwt=false"]
    train("digits", small_digits, tmp_path / "run", overrides, workers=0)
    file = tmp_path / "run" / "model.safetensors"
    evaluation = evaluate("waveletnet_cifar_m1", file, small_digits)
    write_json(tmp_path / "run" / "evaluation.json", evaluation.to_dict())
    refused = run(*arguments(file, "--write-manifest"))
    assert refused.returncode == 2 and "cannot be expressed by a tag" in refused.stderr and not hub.requests
    finished = run(*arguments(file, "--json"))
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["entry"] is None
    assert json.loads(hub.repositories[REPO].files["config.json"])["model_args"]["use_dfwt"] is False
    assert str(tmp_path) not in hub.repositories[REPO].files["results.json"].decode()


@pytest.mark.long
def test_write_manifest_adds_the_entry_to_the_checkout(hub, run, weights, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    source = make_package.__globals__["__file__"].rpartition("/wavenet_zoo/")[0]
    for name in ("wavenet_zoo", "checkpoints", "recipes"):
        shutil.copytree(f"{source}/{name}", package / name)
    finished = run(*arguments(weights, "--write-manifest", "--tag", "mine"), PYTHONPATH=str(package))
    assert finished.returncode == 0, finished.stderr
    entries = json.loads((package / "checkpoints" / "manifest.json").read_text())["checkpoints"]
    (entry,) = [entry for entry in entries if entry["name"] == "waveletnet_cifar_m1.mine"]
    assert entry["hub"] == f"{REPO}@{hub.repositories[REPO].head}"
