"""Speaks just enough of the hub's protocol, on the loopback: the listing of a repository at a revision, and files by ranges."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "89abcdef0123456789abcdef0123456789abcdef"


class Hub:
    """`files` by name. `gated`: asks for a licence. `short`: sends so many bytes at most. `ranges`: where downloads began."""

    def __init__(self, files: dict[str, bytes], kind: str = "models") -> None:
        self.files, self.gated, self.ranges, self.asked = files, False, [], 0
        self.short: int | None = None
        hub, prefix = self, "" if kind == "models" else f"{kind}/"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked += 1
                path = self.path.split("?")[0]
                if hub.gated:
                    self.refuse(403, "GatedRepo")
                elif path in (f"/api/{kind}/some/repo", f"/api/{kind}/some/repo/revision/{REVISION}"):
                    self.answer(200, json.dumps(hub.listing()).encode())
                elif path.startswith(f"/api/{kind}/some/repo/"):
                    self.refuse(404, "RevisionNotFound")
                elif path.startswith(f"/{prefix}some/repo/resolve/{REVISION}/"):
                    self.file(hub.files[path.split(f"{REVISION}/")[1]])
                else:
                    self.refuse(404, "RepoNotFound")

            def file(self, data: bytes) -> None:
                start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
                hub.ranges.append(start)
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data[start : hub.short])))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                self.wfile.write(data[start : hub.short])

            def answer(self, code: int, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def refuse(self, code: int, why: str) -> None:
                self.send_response(code)
                self.send_header("X-Error-Code", why)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def listing(self) -> dict[str, object]:
        """What the API says: large files bear their hash, small ones only a size."""
        siblings = []
        for name, data in self.files.items():
            sha256 = hashlib.sha256(data).hexdigest()
            large = {"lfs": {"sha256": sha256, "size": len(data), "pointerSize": 100}} if name.endswith(".safetensors") else {}
            siblings.append({"rfilename": name, "size": len(data), "blobId": "0" * 40, **large})
        return {"_id": "0", "id": "some/repo", "modelId": "some/repo", "sha": REVISION, "siblings": siblings, "tags": [], "private": False}

    def close(self) -> None:
        """Stop."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
