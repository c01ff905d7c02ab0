"""Publish weights on the Hub: all files in one commit, checked before it and downloaded after it."""

import hashlib
import logging
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils.sha import git_hash

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.runtime.resources import CHECKOUT
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.manifest import ManifestEntry
from wavenet_zoo.zoo.client import call_hub, check_access, hub_timeout
from wavenet_zoo.zoo.exports import add_exports, check_exports, is_exported_path
from wavenet_zoo.zoo.package import LOGITS_TOLERANCE, Package, compute_logits, make_package, write_package
from wavenet_zoo.zoo.release import manifest_entry, write_entry

__all__ = ["Published", "publish"]

logger = logging.getLogger(__name__)


@dataclass
class Published(Result):
    """Result of :func:`publish`.

    Attributes:
        repo: ORG/NAME.
        revision: Commit that the files were downloaded from to check them; None for a dry run.
        url: Address of the commit or pull request; None for a dry run.
        changed: False if the repository already had these files, so that nothing was uploaded.
        folder: Folder of a dry run.
        files: Size and sha256 of every file.
        entry: Entry for ``checkpoints/manifest.json``; None for weights that require model arguments, which a tag
            cannot express.
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
    write_manifest: bool = False,
    exports: Sequence[str] = (),
    data: str | Path | None = None,
    calibrate: str | Path | None = None,
    max_drop: float | None = 1.0,
    progress: bool = False,
) -> Published:
    """Publish weights on the Hub, with configuration, model card, recipe and results, in one commit.

    Before anything is uploaded, timm loads the files, and the token must have write access. Afterwards the files are
    downloaded by revision into an empty cache, and their hashes and logits are compared. A second call with the same
    files uploads nothing.

    Args:
        model: Name of the architecture.
        weights: The safetensors file of a run.
        repo: ORG/NAME; created if it does not exist.
        results: Evaluation record of these weights, written by ``wavezoo eval --save-json``. Default:
            ``evaluation.json`` beside the weights.
        tag: Second part of ``architecture.tag``. Default: the name of the data set.
        private: Create a new repository as private.
        pull_request: Open a pull request instead of a commit.
        dry_run: Write the files to a folder and upload nothing.
        out: Folder of a dry run. Default: ``publications/ORG/NAME``.
        write_manifest: Write the entry into ``checkpoints/manifest.json`` of the checkout.
        exports: Exported files to add: ``FORMAT`` or ``FORMAT-int8``, with the formats of :func:`wavenet_zoo.export`.
        data: Images that exported files are compared on.
        calibrate: Images for int8.
        max_drop: Points of top-1 that an int8 file may have lost at most, see :func:`wavenet_zoo.export`. None adds
            the file without evaluating it.
        progress: Show the progress of exports on stderr.

    Raises:
        WavezooError: If the weights, their record or the token are invalid; nothing was uploaded then. If the Hub
            fails; the repository is then unchanged, or has the whole commit. If the downloaded files differ.
    """
    checkpoints_dir = CHECKOUT / "checkpoints"
    if write_manifest and not (checkpoints_dir / "manifest.json").is_file():
        raise WavezooError(
            f"{checkpoints_dir / 'manifest.json'}: not found", "--write-manifest requires a checkout of wavenet_zoo"
        )
    check_exports(exports, calibrate)
    with preserve_rng_state():
        package = make_package(model, weights, repo, results)
        if write_manifest and package.metadata.model_kwargs:
            raise WavezooError(
                f"{weights}: its model arguments {package.metadata.model_kwargs} cannot be expressed by a tag",
                "remove --write-manifest",
            )
        entry = _entry(package, tag)  # before anything is uploaded: the tag may be invalid
        api = HfApi(library_name="wavenet_zoo")
        if not dry_run:
            check_access(api, repo)
        if exports:
            add_exports(package, weights, exports, data=data, calibrate=calibrate, max_drop=max_drop, progress=progress)
        if dry_run:
            folder = Path(out) if out is not None else Path("publications") / repo
            write_package(package, folder)
            return _result(package, entry, folder=folder)
        revision, url, changed = _upload(api, package, private, pull_request)
        _verify_download(package, revision)
    entry = _entry(package, tag, revision)
    if write_manifest and entry is not None:
        write_entry(entry, checkpoints_dir)
    return _result(package, entry, revision=revision, url=url, changed=changed)


def _result(
    package: Package,
    entry: ManifestEntry | None,
    *,
    revision: str | None = None,
    url: str | None = None,
    changed: bool = False,
    folder: Path | None = None,
) -> Published:
    return Published(
        repo=package.repo,
        revision=revision,
        url=url,
        changed=changed,
        folder=str(folder) if folder else None,
        files={name: {"size": len(content), "sha256": _sha256(content)} for name, content in package.files.items()},
        entry=entry.to_json() if entry else None,
        card=package.files["README.md"].decode(),
    )


def _entry(package: Package, tag: str | None, revision: str | None = None) -> ManifestEntry | None:
    metadata, content = package.metadata, package.files["model.safetensors"]
    if metadata.model_kwargs:
        return None
    return manifest_entry(
        f"{metadata.model}.{tag or re.sub('[^a-z0-9]+', '_', str(metadata.data).lower()).strip('_') or 'weights'}",
        metadata,
        package.record,
        sha256=_sha256(content),
        size=len(content),
        description=f"Weights of {metadata.model} on the Hub at {package.repo}.",
        license=package.license,
        hub=f"{package.repo}@{revision}" if revision else package.repo,
    )


def _upload(api: HfApi, package: Package, private: bool, pull_request: bool) -> tuple[str, str, bool]:
    """Upload a package; return its commit, the address, and whether anything was uploaded."""
    repo = package.repo
    head = _head(api, repo)
    if head is not None:
        hashes = _file_hashes(api, repo, head)
        for name in sorted(set(hashes) - set(package.files)):
            if is_exported_path(name):
                logger.warning("%s: %s is not updated: add its format to --with, or delete it", repo, name)
        if _has_files(package, hashes):
            logger.info("%s: already has these files; nothing was uploaded", repo)
            return head, f"{api.endpoint}/{repo}/tree/{head}", False
    else:
        call_hub("creating the repository", lambda: api.create_repo(repo, private=private, exist_ok=True))
        head = _head(api, repo)
    return (*_commit(api, package, head, pull_request), True)


def _head(api: HfApi, repo: str) -> str | None:
    """Return the newest commit; None if the repository does not exist."""

    def head() -> str | None:
        try:
            return api.model_info(repo, timeout=hub_timeout()).sha
        except RepositoryNotFoundError:
            return None

    return call_hub("reading the repository", head)


def _file_hashes(api: HfApi, repo: str, revision: str) -> dict[str, str | None]:
    """Return the hash of every file: sha256 of a large one, that of its git blob otherwise."""
    info = call_hub(
        "reading its files",
        lambda: api.model_info(repo, revision=revision, files_metadata=True, timeout=hub_timeout()),
    )
    return {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or []}


def _has_files(package: Package, hashes: dict[str, str | None]) -> bool:
    return all(hashes.get(name) in (_sha256(content), git_hash(content)) for name, content in package.files.items())


def _commit(api: HfApi, package: Package, parent: str | None, pull_request: bool) -> tuple[str, str]:
    """Upload the files in one commit; return it and its address."""
    attempted = False

    def commit() -> tuple[str, str]:
        nonlocal attempted
        if attempted and not pull_request:  # the commit may exist although its answer was lost
            head = _head(api, package.repo)
            if head is not None and _has_files(package, _file_hashes(api, package.repo, head)):
                return head, f"{api.endpoint}/{package.repo}/tree/{head}"
        attempted = True
        made = api.create_commit(
            package.repo,
            [CommitOperationAdd(name, content) for name, content in package.files.items()],
            commit_message=f"{package.metadata.model}, {package.metadata.data}: weights, recipe and results",
            parent_commit=parent,
            create_pr=pull_request,
        )
        return made.oid, made.pr_url or made.commit_url

    return call_hub("uploading the files", commit)


def _verify_download(package: Package, revision: str) -> None:
    """Download a revision into an empty cache, and compare files and logits."""
    logger.info("%s: downloading revision %s into an empty cache to verify it", package.repo, revision[:12])
    with tempfile.TemporaryDirectory() as cache:
        for name, content in package.files.items():

            def download(name: str = name) -> str:
                return hf_hub_download(package.repo, name, revision=revision, cache_dir=cache)

            path = call_hub(f"downloading {name}", download)
            if Path(path).read_bytes() != content:
                raise WavezooError(
                    f"{package.repo}: {name} differs after the download (revision {revision})",
                    "run the command again; do not use this revision before it succeeds",
                    INTERNAL_FAILURE,
                )
        try:
            model = timm.create_model(f"hf-hub:{package.repo}@{revision}", pretrained=True, cache_dir=cache)
        except RuntimeError as error:
            raise WavezooError(f"{package.repo}: timm cannot load it: {error}", exit_code=INTERNAL_FAILURE) from error
        if not torch.allclose(compute_logits(model), package.logits, rtol=0, atol=LOGITS_TOLERANCE):
            raise WavezooError(f"{package.repo}: the downloaded model gives other logits", exit_code=INTERNAL_FAILURE)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
