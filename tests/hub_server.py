"""A hub on this machine, as far as huggingface_hub asks one: repositories and their rules.

It answers as the real one does: commits by branch and tag, a tree with git's and LFS's hashes,
files with ``ETag`` and ``X-Repo-Commit``, ranges, and errors with ``X-Error-Code``.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LFS = (".onnx", ".safetensors", ".pth", ".bin")


@dataclass
class Repository:
    """Files by commit; ``refs`` name commits. What may go wrong is set by the tests."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str = ""  # who has it may read; "" everybody
    gated: bool = False
    served: dict[str, bytes] = field(default_factory=dict)  # another content than the tree states

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        facts = json.dumps({n: hashlib.sha256(d).hexdigest() for n, d in files.items()})
        number = hashlib.sha1(f"{facts}{len(self.commits)}".encode()).hexdigest()
        self.commits[number] = dict(files)
        self.refs[ref] = number
        return number


@dataclass
class Hub:
    """Repositories by OWNER/NAME, and what was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    pause_s: float = 0.0  # between blocks of a file
    status: int = 0  # of every answer, if set
    nonsense: bytes = b""  # instead of every JSON
    address: str = ""

    def add(self, name: str, files: dict[str, bytes]) -> Repository:
        repository = self.repositories[name] = Repository()
        repository.commit(files)
        return repository

    def downloads(self) -> list[str]:
        return [line.split("/resolve/")[1].split("/", 1)[1] for line in self.asked
                if line.startswith("GET") and "/resolve/" in line]  # fmt: skip


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(name: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if name.endswith(LFS) else git_hash(data)


def list_tree(files: dict[str, bytes]) -> list[dict]:
    folders = sorted({str(Path(name).parent) for name in files} - {"."})
    tree: list[dict] = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
                        for name in folders]  # fmt: skip
    for name, data in files.items():
        entry = {"type": "file", "path": name, "oid": git_hash(data), "size": len(data)}
        if name.endswith(LFS):
            entry["lfs"] = {"oid": etag(name, data), "size": len(data), "pointerSize": 130}
        tree.append(entry)
    return tree


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def log_message(self, *_):
        pass

    def _answer(self, *, body):  # noqa: PLR0911 - a line per rule
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.agents.add(self.headers.get("User-Agent", ""))
        if self.hub.status:
            return self._send(self.hub.status, b"{}", body=body)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not (match := api or file):
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body=body)
        repository = self.hub.repositories.get(match[1])
        if repository is None:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
        if repository.gated:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body=body)
        allowed = f"Bearer {repository.token}"
        if repository.token and self.headers.get("Authorization") != allowed:
            return self._send(401, b"{}", body=body)
        revision = match[3] if api else match[2]
        commit = repository.refs.get(revision, revision)
        files = repository.commits.get(commit)
        if files is None:
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
        if api:
            facts = {"id": match[1], "modelId": match[1], "sha": commit, "siblings": []}
            value = list_tree(files) if match[2] == "tree" else facts
            data = self.hub.nonsense or json.dumps(value).encode()
            return self._send(200, data, {"Content-Type": "application/json"}, body=body)
        return self._send_file(repository, files, commit, match[3], body=body)

    def _send_file(self, repository, files, commit, name, *, body):
        if name not in files:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body=body)
        data = repository.served.get(name, files[name])
        begin = 0
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            begin = int(wanted[1])
        headers = {"ETag": f'"{etag(name, files[name])}"', "X-Repo-Commit": commit}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        return self._send(206 if begin else 200, data[begin:], headers, body=body)

    def _send(self, status, data, headers=None, *, body):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        block = 65536 if self.hub.pause_s else len(data) or 1
        for begin in range(0, len(data), block):
            self.wfile.write(data[begin : begin + block])
            if self.hub.pause_s:
                time.sleep(self.hub.pause_s)


@contextmanager
def serving_hub():
    """A hub without repositories, on a free port of this machine, until the end."""
    hub = Hub()
    handler = type("HubAnswers", (Answers,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def use_hub(monkeypatch, hub: Hub, cache: Path) -> None:
    """Send what this process asks a hub to this one, and keep what comes below ``cache``.

    The library reads its variables when it is imported, so its constants are set as well.
    """
    from huggingface_hub import constants

    monkeypatch.setenv("CROSSVIEW_CACHE", str(cache / "crossview"))
    monkeypatch.setenv("HF_HOME", str(cache / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": hub.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HOME": str(cache / "home"),
        "HF_HUB_CACHE": str(cache / "home" / "hub"),
        "HF_TOKEN_PATH": str(cache / "home" / "token"),
        "HF_HUB_OFFLINE": False,
        "AGENT_HARNESSES_PATH": str(cache / "home" / "agents.json"),
    }.items():
        monkeypatch.setattr(constants, name, value)
