"""A web server on this machine that serves files well, or in every way that servers serve badly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import urlsplit


@dataclass
class Asked:
    """One request, and how many bytes of the file it was given: counted before they are sent."""

    path: str
    range: str | None
    sent: int = 0


@dataclass
class Site:
    """What is served and how: `script` has one behaviour a request, by name; then all goes well.

    `ok`, `slow`, `break:N` (closes after N bytes), `stall:N` (says nothing after N, until released or for ever),
    `length:N` (claims N bytes more than there are), `status:CODE[:HEADER=VALUE]`, `redirect:URL`
    (or a path of this site), `no_range[:N]` (answers with everything, and claims N more),
    `no_length`, `chunked`, `chunked_break:N`.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    script: list[str] = field(default_factory=list)
    always: str = "ok"
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def sent(self) -> int:
        """Bytes of files given in all."""
        return sum(one.sent for one in self.asked)


@contextmanager
def served() -> Iterator[Site]:
    """Serve a site on a free port of this machine."""
    site = Site()

    class Handler(_Handler):
        pass

    Handler.site = site
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site
    asked: Asked

    def do_GET(self) -> None:
        self.close_connection = True
        self.asked = Asked(self.path, self.headers.get("Range"))
        self.site.asked.append(self.asked)
        how = self.site.script.pop(0) if self.site.script else self.site.always
        kind, _, rest = how.partition(":")
        with suppress(BrokenPipeError, ConnectionResetError):
            self._answer(kind, rest)

    def _answer(self, kind: str, rest: str) -> None:
        if kind == "status":
            code, *headers = rest.split(":")
            return self._status(int(code), *headers)
        if kind == "redirect":
            here = self.site.url if rest.startswith("/") else ""
            return self._status(302, f"Location={here}{rest}")
        content = self.site.files.get(urlsplit(self.path).path)
        if content is None:
            return self._status(404)
        start = 0 if kind == "no_range" else self._start(content)
        if start >= len(content) and start:
            return self._status(416, f"Content-Range=bytes */{len(content)}")
        return self._give(content, start, kind, int(rest or 0))

    def _start(self, content: bytes) -> int:
        asked, version = self.headers.get("Range"), self.headers.get("If-Range")
        if asked is None or version not in {None, _tag(content)}:
            return 0
        return int(asked.removeprefix("bytes=").partition("-")[0])

    def _status(self, code: int, *headers: str) -> None:
        self.send_response(code)
        for header in headers:
            self.send_header(*header.split("=", 1))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _give(self, content: bytes, start: int, kind: str, number: int) -> None:
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", _tag(content))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if kind.startswith("chunked"):
            self.send_header("Transfer-Encoding", "chunked")
        elif kind != "no_length":
            claimed = len(body) + (number if kind in {"length", "no_range"} else 0)
            self.send_header("Content-Length", str(claimed))
        self.end_headers()
        if kind.startswith("chunked"):
            self._chunk(body, body[:number] if kind == "chunked_break" else body)
        elif kind in {"break", "stall"}:
            self._write(body[:number])
            if kind == "stall":
                self.site.released.wait()
        else:
            self._all(body, slowly=kind == "slow")

    def _all(self, body: bytes, *, slowly: bool) -> None:
        step = max(1, len(body) // 10) if slowly else len(body) or 1
        for at in range(0, len(body), step):
            self._write(body[at : at + step])
            time.sleep(0.02 if slowly else 0)  # what is tested is slowness itself

    def _chunk(self, body: bytes, given: bytes) -> None:
        self.wfile.write(f"{len(body):x}\r\n".encode())
        self._write(given)
        if len(given) == len(body):
            self.wfile.write(b"\r\n0\r\n\r\n")

    def _write(self, block: bytes) -> None:
        self.asked.sent += len(block)
        self.wfile.write(block)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def content(name: str, size: int) -> bytes:
    """Return the bytes of a file, the same in every process."""
    return b"\n" + Random(name).randbytes(size - 1)


def _tag(content: bytes) -> str:
    return f'"{sha256(content).hexdigest()[:16]}"'
