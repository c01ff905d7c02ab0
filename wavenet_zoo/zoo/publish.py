"""Publishing weights: five files in one commit, checked before it and downloaded again after it."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils.sha import git_hash

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.zoo.client import ask, check_access
from wavenet_zoo.zoo.package import LOGITS_TOLERANCE, Package, logits_of, make_package, write_package
from wavenet_zoo.zoo.release import CHECKOUT, manifest_entry, write_entry

__all__ = ["Published", "publish"]


@dataclass
class Published:
    """The result of :func:`publish`.

    Attributes:
        repo: ORG/NAME.
        revision: Commit that the files were downloaded from again; None for a dry run.
        url: Of the commit, or of the pull request; None for a dry run.
        changed: False where the repository held these very files already, so that nothing was sent.
        folder: Where a dry run wrote the files.
        files: Size and sha256 of every file.
        entry: The line for ``checkpoints/manifest.json``; None for weights that need arguments, which a tag cannot say.
        card: README.md.
    """

    repo: str
    revision: str | None
    url: str | None
    changed: bool
    folder: str | None
    files: dict[str, dict[str, Any]]
    entry: dict[str, Any] | None
    card: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def publish(
    model: str,
    weights: str | Path,
    repo: str,
    *,
    results: str | Path | None = None,
    tag: str | None = None,
    private: bool = False,
    pull_request: bool = False,
    dry_run: bool = False,
    out: str | Path | None = None,
    record: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> Published:
    """Publish weights on the Hub, with configuration, card, recipe and results, in one commit.

    Nothing is sent before the files have been loaded through timm and the token may write. Afterwards they are
    downloaded by revision into an empty cache, and their hashes and logits compared. Done twice, nothing is sent the
    second time.

    Args:
        model: Name of the architecture.
        weights: A safetensors file of a run.
        repo: ORG/NAME; made if it is not there.
        results: What ``wavezoo eval --save-json`` wrote for these weights; by default ``evaluation.json`` beside them.
        tag: What comes after the dot in ``architecture.tag``; by default the name of the data set.
        private: Make a new repository a private one.
        pull_request: Open a pull request in place of a commit.
        dry_run: Write the files to a folder and send nothing.
        out: Folder of a dry run; by default ``publications/ORG/NAME``.
        record: Write the entry into the checkout's ``checkpoints/manifest.json``.
        note: Called with a line on what is done.

    Raises:
        WavezooError: If something is not as it has to be; nothing was sent then. If the Hub fails, the repository is as
            it was, or holds the whole commit. If what is downloaded again is not what was sent.
    """
    manifest = CHECKOUT / "checkpoints"
    if record and not (manifest / "manifest.json").is_file():
        raise WavezooError(f"{manifest}: no manifest to record it in", "--record is for a checkout of wavenet_zoo")
    package = make_package(model, weights, repo, results)
    if record and package.metadata.model_kwargs:
        raise WavezooError(f"{weights}: trained with {package.metadata.model_kwargs}, which a tag cannot say",
                           "publish it without --record")  # fmt: skip
    tag = tag or str(package.metadata.data).lower().replace("-", "_")
    name = f"{package.metadata.model}.{tag}"
    facts = {file: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
             for file, content in package.files.items()}  # fmt: skip
    card = package.files["README.md"].decode()

    def result(revision: str | None, url: str | None, changed: bool, folder: Path | None) -> Published:
        source = {"hub": f"{repo}@{revision}" if revision else repo}
        about = f"Weights of {package.metadata.model} on the Hub at {repo}."
        weights_file = facts["model.safetensors"]
        entry = None
        if not package.metadata.model_kwargs:
            entry = manifest_entry(name, source, package.metadata, package.record, weights_file, about, package.license)
        if entry and record and revision:
            write_entry(entry, manifest)
        return Published(repo, revision, url, changed, str(folder) if folder else None, facts, entry, card)

    if dry_run:
        folder = Path(out) if out is not None else Path("publications") / repo
        write_package(package, folder)
        return result(None, None, False, folder)

    api = HfApi(library_name="wavenet_zoo")
    check_access(api, repo, note)
    head = _head(api, repo, note)
    if head is not None and _holds(api, repo, head, package, note):
        note(f"{repo}: holds these very files already; nothing was sent")
        _download_again(package, head, note)
        return result(head, f"{api.endpoint}/{repo}/tree/{head}", False, None)
    if head is None:
        ask("making the repository", lambda: api.create_repo(repo, private=private, exist_ok=True), note)
        head = _head(api, repo, note)
    revision, url = _commit(api, package, head, pull_request, note)
    _download_again(package, revision, note)
    return result(revision, url, True, None)


def _head(api: HfApi, repo: str, note: Callable[[str], None]) -> str | None:
    """Return the newest commit, or None where there is no such repository."""

    def head() -> str | None:
        try:
            return api.model_info(repo).sha
        except RepositoryNotFoundError:
            return None

    return ask("looking at the repository", head, note)


def _holds(api: HfApi, repo: str, revision: str, package: Package, note: Callable[[str], None]) -> bool:
    info = ask("its files", lambda: api.model_info(repo, revision=revision, files_metadata=True), note)
    there = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or []}
    return all(
        there.get(name) in (hashlib.sha256(content).hexdigest(), git_hash(content))
        for name, content in package.files.items()
    )


def _commit(
    api: HfApi, package: Package, parent: str | None, pull_request: bool, note: Callable[[str], None]
) -> tuple[str, str]:
    """Send the files in one commit, or find that a try which seemed to fail has made it."""
    sent = False

    def commit() -> tuple[str, str]:
        nonlocal sent
        if sent and not pull_request:  # the answer of the last try may have been lost on the way
            head = _head(api, package.repo, note)
            if head is not None and _holds(api, package.repo, head, package, note):
                return head, f"{api.endpoint}/{package.repo}/tree/{head}"
        sent = True
        done = api.create_commit(
            package.repo,
            [CommitOperationAdd(name, content) for name, content in package.files.items()],
            commit_message=f"{package.metadata.model}, {package.metadata.data}: weights, recipe and results",
            parent_commit=parent,
            create_pr=pull_request,
        )
        return done.oid, done.pr_url or done.commit_url

    return ask("sending the files", commit, note)


def _download_again(package: Package, revision: str, note: Callable[[str], None]) -> None:
    note(f"downloading {package.repo} at {revision[:12]} again, into an empty cache")
    with tempfile.TemporaryDirectory() as cache:
        for name, content in package.files.items():

            def download(name: str = name) -> str:
                return hf_hub_download(package.repo, name, revision=revision, cache_dir=cache)

            path = ask(f"downloading {name}", download, note)
            if Path(path).read_bytes() != content:
                raise WavezooError(
                    f"{package.repo}: {name} came back changed (revision {revision})",
                    "download it once more; do not use this revision until it comes back whole",
                    INTERNAL_FAILURE,
                )
        try:
            model = timm.create_model(f"hf-hub:{package.repo}@{revision}", pretrained=True, cache_dir=cache)
        except RuntimeError as error:
            raise WavezooError(f"{package.repo}: timm does not load it: {error}", exit_code=INTERNAL_FAILURE) from error
        if not torch.allclose(logits_of(model), package.logits, rtol=0, atol=LOGITS_TOLERANCE):
            raise WavezooError(
                f"{package.repo}: what timm loads from there gives other logits", exit_code=INTERNAL_FAILURE
            )
