"""A small HTTP server on this machine that a platform of the tests answers through, with faults on demand."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """What was asked: `path` without the query, `query` with the last value of each name."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    host: str
    lists: dict[str, list[str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.host}{self.path}"


@dataclass
class Reply:
    """What is answered; a body that is no bytes goes out as JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # the connection is closed after so many bytes

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, ensure_ascii=False).encode("utf-8", "surrogateescape")


Fault = Callable[[Request, Reply], Reply]


class PlatformServer:
    """Answers on 127.0.0.1 with what `handle` says.

    Attributes:
        requests: what was asked, in order.
        faults: what happens to the next answers; None: nothing. When the list is empty, `fault` does.
        fault: what happens to every answer.
        clock_error: how far the Date header is ahead.
    """

    def __init__(self, handle: Callable[[Request], Reply]) -> None:
        self.handle = handle
        self.requests: list[Request] = []
        self.times: list[datetime] = []
        self.faults: list[Fault | None] = []
        self.fault: Fault | None = None
        self.clock_error = timedelta()
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                lists = parse_qs(parts.query, keep_blank_values=True)
                request = Request(
                    self.command,
                    parts.path,
                    {name: values[-1] for name, values in lists.items()},
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                    self.headers["Host"],
                    lists,
                )
                with owner._lock:
                    owner.requests.append(request)
                    owner.times.append(datetime.now(UTC))
                    fault = owner.faults.pop(0) if owner.faults else owner.fault
                    reply = owner.handle(request)
                reply = fault(request, reply) if fault else reply
                content = reply.content
                self.send_response(reply.status)
                self.send_header(
                    "Date", format_datetime(datetime.now(UTC) + owner.clock_error, True)
                )
                self.send_header("Content-Length", str(len(content)))
                if "Content-Type" not in reply.headers:
                    self.send_header("Content-Type", "application/json")
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.cut is not None:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(content if reply.cut is None else content[: reply.cut])
                if reply.cut is not None:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = _answer  # noqa: N815

            def send_response(self, code: int, message: str | None = None) -> None:
                self.send_response_only(code, message)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def status(code: int, **headers: str) -> Fault:
    """A fault that answers with a status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _, __: Reply({"error": "trouble"}, code, named)


def cut(share: float = 0.5) -> Fault:
    """A fault that closes the connection in the middle of the body."""
    return lambda _, reply: Reply(reply.content, cut=int(len(reply.content) * share))


def truncated(_: Request, reply: Reply) -> Reply:
    """A fault that leaves out the end of the body, with a length that fits."""
    content = reply.content
    return Reply(content[: max(len(content) // 2, 1)], headers=reply.headers)


def html(_: Request, __: Reply) -> Reply:
    """A fault that answers with a page for people."""
    page = b"<!doctype html><html><title>Down for maintenance</title></html>"
    return Reply(page, headers={"Content-Type": "text/html"})
