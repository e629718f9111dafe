"""A local stand-in for the hub's HTTP interface: what huggingface_hub asks for, and nothing else."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves the files of ``repos``. ``requests`` lists what was asked; ``cut`` ends one body after so many bytes;
    the names in ``damaged`` are sent with one byte changed."""

    def __init__(self, repos: dict[str, dict[str, bytes]]) -> None:
        self.repos = repos
        self.gated: set[str] = set()
        self.requests: list[str] = []
        self.cut: int | None = None
        self.damaged: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(is_head=True)

            def do_GET(self) -> None:
                self.answer(is_head=False)

            def answer(self, *, is_head: bool) -> None:
                path = self.path.partition("?")[0]
                hub.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
                if path.startswith("/api/models/"):
                    self.answer_api(path.removeprefix("/api/models/"))
                else:
                    repo, _, rest = path.strip("/").partition("/resolve/")
                    self.answer_file(repo, rest.partition("/")[2], is_head=is_head)

            def answer_api(self, rest: str) -> None:
                repo = "/".join(rest.split("/")[:2])
                files = hub.repos.get(repo)
                if files is None:
                    return self.refuse(404, "RepoNotFound")
                if "/tree/" in rest:
                    tree = [
                        {"type": "file", "path": name, "size": len(raw), "oid": hashlib.sha1(raw).hexdigest()}
                        for name, raw in files.items()
                    ]
                    return self.reply(json.dumps(tree).encode())
                siblings = [{"rfilename": name} for name in files]
                return self.reply(json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode())

            def answer_file(self, repo: str, name: str, *, is_head: bool) -> None:
                if repo in hub.gated:
                    return self.refuse(403, "GatedRepo")
                if repo not in hub.repos:
                    return self.refuse(404, "RepoNotFound")
                raw = hub.repos[repo].get(name)
                if raw is None:
                    return self.refuse(404, "EntryNotFound")
                start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
                headers = {"ETag": f'"{hashlib.sha256(raw).hexdigest()}"', "X-Repo-Commit": COMMIT}
                if name in hub.damaged:
                    raw = raw[:-1] + bytes([raw[-1] ^ 1])
                if start:
                    headers["Content-Range"] = f"bytes {start}-{len(raw) - 1}/{len(raw)}"
                return self.reply(raw[start:], 206 if start else 200, headers, is_head=is_head)

            def refuse(self, status: int, code: str) -> None:
                self.reply(b"{}", status, {"X-Error-Code": code, "X-Error-Message": code})

            def reply(
                self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, *, is_head: bool = False
            ) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "application/json")
                for name, item in (headers or {}).items():
                    self.send_header(name, item)
                self.end_headers()
                if is_head or self.command == "HEAD":
                    return
                if hub.cut is not None and len(body) > hub.cut:
                    self.wfile.write(body[: hub.cut])
                    hub.cut = None
                    self.close_connection = True
                    return
                self.wfile.write(body)

        return Handler
