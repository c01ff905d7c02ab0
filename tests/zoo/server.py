"""A small local Hub on 127.0.0.1 for the real clients huggingface_hub and timm, which can inject faults.

It implements the part of the Hub's protocol that these clients use. Each repository is a history of commits, which map
paths to contents; large files are stored by their sha256, as with Git LFS.
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LARGE = (".safetensors", ".bin", ".pt")
TOKENS = {  # token: role, name of its user, organizations
    "hf_write": ("write", "someone", ["zoo"]),
    "hf_read": ("read", "someone", ["zoo"]),
}


@dataclass
class Repository:
    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Fault:
    """A fault in the next ``times`` requests whose ``METHOD /path`` matches ``pattern``, after ``skip`` others.

    ``action`` is a status, a delay in seconds (a float), or ``truncate``, ``flip``, ``hang``, ``drop``.
    """

    pattern: str
    action: int | float | str
    times: int = 1
    skip: int = 0


class Hub:
    """The server and its state; ``requests`` has every request as ``METHOD /path``."""

    def __init__(self, xet: Any = None):
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.received: list[str] = []  # Authorization headers of uploads to the store, which must be empty
        self.faults: list[Fault] = []
        self.xet = xet  # an XetStore, or None without Xet
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    @property
    def writes(self) -> list[str]:
        """Requests that change the state of the Hub."""
        return [
            request for request in self.requests if re.search(r"^(PUT|POST /api/repos/create|POST .*/commit/)", request)
        ]

    def fault_for(self, request: str) -> str | int | float | None:
        with self.lock:
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault.action
        return None

    def commit(self, repo: str, changes: dict[str, bytes | None]) -> str:
        repository = self.repositories[repo]
        files = {**repository.files, **{path: c for path, c in changes.items() if c is not None}}
        for path in (path for path, content in changes.items() if content is None):
            files.pop(path, None)
        oid = hashlib.sha1(f"{repo} {len(repository.commits)} {time.time_ns()}".encode()).hexdigest()
        repository.commits.append((oid, files))
        return oid

    def create(self, repo: str, private: bool = False) -> None:
        first = hashlib.sha1(repo.encode()).hexdigest()
        self.repositories[repo] = Repository(private, [(first, {".gitattributes": b"*.safetensors filter=lfs\n"})])


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def _dispatch(self) -> None:
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        length = int(self.headers.get("Content-Length") or 0)
        request = f"{self.command} {url.path}"
        action = self.hub.fault_for(request)
        if action == "drop":
            self.rfile.read(min(length, 100))
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._chunks()
        self.hub.requests.append(request)
        if action == "hang":
            time.sleep(60)
            return
        if isinstance(action, float):
            time.sleep(action)
            action = None
        if isinstance(action, int):
            echo = f"fault {action}, {self.headers.get('Authorization')}"  # as proxies do
            self._json({"error": echo}, action, X_Error_Message=echo)
            return
        self.spoil = action
        for method, pattern, handle in _ROUTES:
            match = re.fullmatch(pattern, url.path)
            if method == self.command and match:
                with self.hub.lock:
                    answer = handle(self, **match.groupdict())
                if answer is not None:
                    answer()
                return
        self._json({"error": "not found"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _dispatch

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for key, text in headers.items():
            self.send_header(key.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # ------------------------------------------------------------------------------------------------------ access

    @property
    def user(self) -> tuple[str, str, list[str]] | None:
        return TOKENS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def _may_write(self, repo: str) -> bool:
        if self.user is None:
            self._json({"error": "Invalid username or password."}, 401)
        elif self.user[0] != "write" or repo.split("/")[0] not in (self.user[1], *self.user[2]):
            self._json({"error": "Forbidden"}, 403, X_Error_Message="you do not have the rights")
        else:
            return True
        return False

    def _repository(self, repo: str) -> Repository | None:
        repository = self.hub.repositories.get(repo)
        if repository is None or (repository.private and self.user is None):
            self._json({"error": "Repository not found"}, 404 if self.user else 401, X_Error_Code="RepoNotFound")
            return None
        return repository

    def whoami(self) -> Any:
        if self.user is None:
            return lambda: self._json({"error": "Invalid credentials"}, 401)
        role, name, organizations = self.user
        return lambda: self._json(
            {
                "type": "user",
                "name": name,
                "orgs": [{"name": organization} for organization in organizations],
                "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": role}},
            }
        )

    # ----------------------------------------------------------------------------------------------------- write

    def create(self) -> Any:
        value = json.loads(self.body)
        repo = f"{value.get('organization') or (self.user or ('', 'nobody'))[1]}/{value['name']}"
        if not self._may_write(repo):
            return None
        url = {"url": f"{self.hub.endpoint}/{repo}"}
        if repo in self.hub.repositories:
            return lambda: self._json({"error": "You already created this model repo", **url}, 409)
        self.hub.create(repo, value.get("visibility") == "private" or bool(value.get("private")))
        return lambda: self._json(url)

    def validate_yaml(self) -> Any:
        content = json.loads(self.body)["content"]
        good = re.match(r"---\n.*?\n---\n", content, re.DOTALL)
        errors = [] if good else [{"message": "no metadata block"}]
        return lambda: self._json({"errors": errors, "warnings": []}, 200 if good else 400)

    def preupload(self, repo: str, revision: str) -> Any:
        repository = self._repository(repo)
        if repository is None:
            return None
        files = []
        for file in json.loads(self.body)["files"]:
            large = file["path"].endswith(LARGE)
            there = repository.files.get(file["path"])
            oid = None if there is None else hashlib.sha256(there).hexdigest() if large else blob_id(there)
            mode = "lfs" if large else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return lambda: self._json({"files": files, "commitOid": repository.head})

    def batch(self, repo: str) -> Any:
        if not self._may_write(repo):
            return None
        objects = []
        for item in json.loads(self.body)["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.stored:
                entry["actions"] = {"upload": {"href": f"{self.hub.endpoint}/_lfs/{item['oid']}"}}
            objects.append(entry)
        return lambda: self._json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> Any:
        self.hub.received.append(self.headers.get("Authorization") or "")
        if hashlib.sha256(self.body).hexdigest() != oid:
            return lambda: self._json({"error": "sha256 differs"}, 400)
        self.hub.stored[oid] = self.body
        return lambda: self._json({})

    def commit(self, repo: str, revision: str) -> Any:
        if not self._may_write(repo) or (repository := self._repository(repo)) is None:
            return None
        changes: dict[str, bytes | None] = {}
        for line in self.body.decode().splitlines():
            key, value = (entry := json.loads(line))["key"], entry["value"]
            if key == "header" and value.get("parentCommit") not in (None, repository.head):
                return lambda: self._json({"error": "A commit has happened since"}, 412)
            if key == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                content = self._content_of(value["oid"])
                if content is None:
                    return lambda: self._json({"error": f"{value['path']} was never uploaded"}, 400)
                changes[value["path"]] = content
            elif key == "deletedFile":
                changes[value["path"]] = None
        if "create_pr" in self.query:
            url = f"{self.hub.endpoint}/{repo}/discussions/1"
            oid = hashlib.sha1(self.body).hexdigest()
            repository.commits.insert(0, (oid, {**repository.files, **{k: v for k, v in changes.items() if v}}))
            more = {"pullRequestUrl": url}
        else:
            oid, more = self.hub.commit(repo, changes), {}
        url = f"{self.hub.endpoint}/{repo}/commit/{oid}"
        return lambda: self._json({"commitOid": oid, "commitUrl": url, **more})

    def _content_of(self, sha256: str) -> bytes | None:
        if sha256 not in self.hub.stored and self.hub.xet is not None and (content := self.hub.xet.read(sha256)):
            self.hub.stored[sha256] = content
        return self.hub.stored.get(sha256)

    def xet_token(self, repo: str, kind: str, revision: str) -> Any:
        if self.hub.xet is None:
            return lambda: self._json({"error": "not found"}, 404)
        if kind == "write" and not self._may_write(repo):
            return None
        expires = int(time.time()) + 3600
        value = {"accessToken": "xet", "exp": expires, "casUrl": self.hub.xet.endpoint}
        headers = {"X_Xet_Cas_Url": self.hub.xet.endpoint, "X_Xet_Access_Token": "xet"}
        return lambda: self._json(value, X_Xet_Token_Expiration=str(expires), **headers)

    # ------------------------------------------------------------------------------------------------------ read

    def info(self, repo: str, revision: str = "main") -> Any:
        repository = self._repository(repo)
        if repository is None:
            return None
        found = repository.at(revision)
        if found is None:
            return lambda: self._json({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        siblings = []
        for path, content in found[1].items():
            entry: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob_id(content)}
            if path.endswith(LARGE):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        value = {"id": repo, "sha": found[0], "siblings": siblings, "private": repository.private, "gated": False,
                 "tags": []}  # fmt: skip
        return lambda: self._json(value)

    def resolve(self, repo: str, revision: str, path: str) -> Any:
        repository = self._repository(repo)
        if repository is None:
            return None
        found = repository.at(revision)
        if found is None:
            return lambda: self._json({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        content = found[1].get(path)
        if content is None:
            return lambda: self._json({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=found[0])
        return lambda: self._file(found[0], path, content)

    def _file(self, commit: str, path: str, content: bytes) -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        large = path.endswith(LARGE)
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{sha256 if large else blob_id(content)}"')
        if large:
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("X-Linked-ETag", f'"{sha256}"')
        if large and self.hub.xet is not None and (stored := self.hub.xet.files().get(sha256)):
            self.send_header("X-Xet-Hash", stored[0])
            repo = self.path.split("/resolve/")[0].strip("/")
            route = f"{self.hub.endpoint}/api/models/{repo}/xet-read-token/{commit}"
            self.send_header("X-Xet-Refresh-Route", route)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.spoil == "truncate":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif self.spoil == "flip":
            middle = len(content) // 2
            self.wfile.write(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        else:
            self.wfile.write(content)


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("POST", rf"/api/models/{_REPO}/preupload/(?P<revision>.+)", _Handler.preupload),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/_lfs/(?P<oid>[0-9a-f]{64})", _Handler.store),
    ("POST", rf"/api/models/{_REPO}/commit/(?P<revision>.+)", _Handler.commit),
    ("GET", rf"/api/models/{_REPO}", _Handler.info),
    ("GET", rf"/api/models/{_REPO}/revision/(?P<revision>.+)", _Handler.info),
    ("GET", rf"/api/models/{_REPO}/xet-(?P<kind>read|write)-token/(?P<revision>.+)", _Handler.xet_token),
    ("HEAD", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
    ("GET", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
]
