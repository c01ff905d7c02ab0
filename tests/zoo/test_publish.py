"""``wavezoo publish``: the real clients against a Hub of our own."""

import hashlib
import json
import os
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

from wavenet_zoo import WavezooError, evaluate, train
from wavenet_zoo.runtime.records import write_json
from wavenet_zoo.zoo.package import make_package

REPO = "zoo/waveletnet-digits"
FILES = {"model.safetensors", "config.json", "README.md", "recipe.yaml", "results.json"}
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
    assert len(hub.repositories[REPO].commits) == 2  # that of its making, and ours


@pytest.mark.reliability(30)
def test_what_is_published_comes_back_in_every_form_in_a_fresh_process_with_an_empty_cache(hub, run, weights, tmp_path):
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
def test_with_xet_it_comes_back_the_same_and_is_not_sent_twice(hub, run, weights):
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
def test_one_commit_with_five_files_and_a_card_whose_figures_were_measured(hub, run, weights):
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
    assert json.loads(files["results.json"])["top1"] == record["top1"]
    for text in files.values():
        assert "/tmp" not in text and record["weights"]["name"] not in text and "SECRET" not in text

    before = len(hub.requests)
    again = run(*arguments(weights))
    assert again.returncode == 0 and "nothing was sent" in again.stderr
    assert not [r for r in hub.requests[before:] if r in hub.writes] and len(hub.repositories[REPO].commits) == 2


@pytest.mark.long
def test_a_dry_run_writes_the_files_shows_the_card_and_asks_nobody(hub, run, weights, tmp_path):
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
def test_a_pull_request_leaves_the_main_branch_as_it_is(hub, run, weights):
    hub.create(REPO)
    head = hub.repositories[REPO].head
    finished = run(*arguments(weights, "--pr", "--json"))
    assert finished.returncode == 0, finished.stderr
    assert "discussions/1" in json.loads(finished.stdout)["url"]
    assert hub.repositories[REPO].head == head


@pytest.mark.long
def test_a_new_repository_is_private_where_asked_for(hub, run, weights):
    assert run(*arguments(weights, "--private")).returncode == 0
    assert hub.repositories[REPO].private


# ------------------------------------------------------------------------------------------------------------- refusals


def refused(reason, weights, repo=REPO, **more):
    with pytest.raises(WavezooError, match=reason) as error:
        make_package("waveletnet_cifar_m1", weights, repo, **more)
    assert "\n" not in str(error.value)


@pytest.mark.reliability(27)
def test_what_is_not_ready_is_refused_before_anything_is_asked(weights, tmp_path):
    for repo in ("noslash", "a/b/c", "zoo/na me", "zoo/..", ""):
        refused("--repo", weights, repo)
    refused("weights file not found", tmp_path / "nowhere.safetensors")
    refused("only safetensors", weights.parent / "last.pt")
    with pytest.raises(WavezooError, match="weights of waveletnet_cifar_m1, not of waveletnet_cifar_m2"):
        make_package("waveletnet_cifar_m2", weights, REPO)
    (weights.parent / "evaluation.json").rename(tmp_path / "elsewhere.json")
    refused("no evaluation record", weights)
    make_package("waveletnet_cifar_m1", weights, REPO, tmp_path / "elsewhere.json")
    record = json.loads((tmp_path / "elsewhere.json").read_text())
    for change, reason in (
        ({"weights": {**record["weights"], "sha256": "0" * 64}}, "other weights"),
        ({"skipped": ["one.png"]}, "1 images were left out"),
        ({"data": None}, "no evaluation record"),
    ):
        (weights.parent / "evaluation.json").write_text(json.dumps({**record, **change}))
        refused(reason, weights)


@pytest.mark.reliability(27)
def test_weights_that_are_damaged_or_not_finite_are_refused(weights, tmp_path):
    tensors = load_file(weights)
    content = weights.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    tensors["classifier.bias"][0] = float("nan")
    save_file(tensors, weights, header["__metadata__"])
    refused("classifier.bias holds values that are not finite", weights)
    weights.write_bytes(weights.read_bytes()[:-100])
    refused("truncated", weights)


def test_a_recipe_that_is_not_the_one_of_the_weights_is_refused(weights, monkeypatch):
    monkeypatch.setattr("wavenet_zoo.zoo.package.list_recipes", dict)
    make_package("waveletnet_cifar_m1", weights, REPO)
    recipe = weights.parent / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 0", "seed: 1"))
    refused("the recipe that it was trained by", weights)


@pytest.mark.reliability(26)
@pytest.mark.parametrize(
    ("token", "repo", "reason"),
    [
        (None, REPO, "no token for the Hub"),
        pytest.param("hf_read", REPO, "may only read", marks=pytest.mark.long),
        pytest.param("hf_write", "others/model", "may not publish under 'others'", marks=pytest.mark.long),
        pytest.param("hf_wrong", REPO, "not valid", marks=pytest.mark.long),
    ],
)
def test_who_may_not_publish_sends_nothing(hub, run, weights, token, repo, reason):
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
def test_what_passes_is_tried_again_until_it_is_done(hub, fault, run, weights, pattern, action, times):
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
        ("POST .*/commit/", 500, "sending the files: 500"),
        ("PUT /_lfs/", "drop", "sending the files"),
        ("POST .*/commit/", 403, "lacks the right"),
        ("POST .*/commit/", 412, "has changed meanwhile"),
        ("GET /api/whoami", 500, "who the token belongs to"),
    ],
)
def test_what_does_not_pass_ends_in_one_line_with_the_repository_as_it_was(
    hub, fault, run, weights, pattern, action, reason
):
    hub.create(REPO)
    head = hub.repositories[REPO].head
    hub.faults.append(fault(pattern, action, 1000))
    finished = run(*arguments(weights), timeout=300)
    assert finished.returncode in (1, 2)
    *notes, last = finished.stderr.splitlines()
    assert last.startswith("error: Hub: ") and reason in last, finished.stderr
    assert "Traceback" not in finished.stderr
    for note in notes:  # ours, and those of the Hub's client
        assert note.startswith(("Hub: ", "Retrying in ")) or "thrown while requesting" in note or "HTTP Error" in note
    assert "hf_write" not in finished.stderr + finished.stdout
    assert hub.repositories[REPO].head == head


@pytest.mark.reliability(26)
@pytest.mark.long
def test_the_token_is_in_no_traceback(hub, fault, run, weights):
    hub.faults.append(fault("POST .*/commit/", 403, 1000))
    finished = run(*arguments(weights, "--debug"), WAVEZOO_DEBUG="1", HF_DEBUG="1")
    assert "Traceback" in finished.stderr and "hf_write" not in finished.stderr + finished.stdout


@pytest.mark.reliability(28)
@pytest.mark.long
def test_a_hub_that_does_not_answer_is_asked_again(hub, fault, run, weights):
    hub.faults.append(fault("GET /api/whoami", "hang", 1))
    hub.faults.append(fault("POST .*/commit/", "hang", 1))
    finished = run(*arguments(weights), HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("trying again") == 2
    assert_published(hub, weights)


@pytest.mark.reliability(30)
@pytest.mark.long
def test_a_byte_that_flips_on_the_way_back_is_found(hub, fault, run, weights):
    hub.faults.append(fault("GET .*/resolve/.*/model.safetensors", "flip", 1000))
    finished = run(*arguments(weights))
    assert finished.returncode == 1 and "model.safetensors came back changed" in finished.stderr


@pytest.mark.reliability(28)
@pytest.mark.long
def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub, fault, run, weights, monkeypatch):
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
def test_killed_between_upload_and_commit_and_run_again_sends_no_weights_twice(
    hub, fault, run, environment, weights, tmp_path
):
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
def test_a_hub_without_xet_gets_the_advice(hub, run, weights):
    pytest.importorskip("hf_xet")
    finished = run(*arguments(weights), HF_HUB_DISABLE_XET=None)
    assert finished.returncode in (1, 2) and "HF_HUB_DISABLE_XET=1" in finished.stderr
    assert len(hub.repositories[REPO].commits) == 1


@pytest.mark.long
def test_weights_that_need_arguments_come_back_with_them_and_have_no_tag(hub, run, small_digits, tmp_path):
    overrides = ["schedule.epochs=1", "batch_size=50", "model.kwargs.use_dfwt=false"]
    train("digits", small_digits, tmp_path / "run", overrides, workers=0)
    file = tmp_path / "run" / "model.safetensors"
    evaluation = evaluate("waveletnet_cifar_m1", file, small_digits)
    write_json(tmp_path / "run" / "evaluation.json", evaluation.to_dict())
    refused = run(*arguments(file, "--record"))
    assert refused.returncode == 2 and "which a tag cannot say" in refused.stderr and not hub.requests
    finished = run(*arguments(file, "--json"))
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["entry"] is None
    assert json.loads(hub.repositories[REPO].files["config.json"])["model_args"]["use_dfwt"] is False
    assert str(tmp_path) not in hub.repositories[REPO].files["results.json"].decode()


@pytest.mark.long
def test_the_entry_is_written_into_the_manifest_where_asked_for(hub, run, weights, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    source = make_package.__globals__["__file__"].rpartition("/wavenet_zoo/")[0]
    for name in ("wavenet_zoo", "checkpoints", "recipes"):
        shutil.copytree(f"{source}/{name}", package / name)
    finished = run(*arguments(weights, "--record", "--tag", "mine"), PYTHONPATH=str(package))
    assert finished.returncode == 0, finished.stderr
    entries = json.loads((package / "checkpoints" / "manifest.json").read_text())["checkpoints"]
    (entry,) = [entry for entry in entries if entry["name"] == "waveletnet_cifar_m1.mine"]
    assert entry["hub"] == f"{REPO}@{hub.repositories[REPO].head}"
