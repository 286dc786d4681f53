"""Jetstream: a WebSocket that replays its log of events from a cursor, then goes on live."""

import json
import threading
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.sync.server import ServerConnection, serve

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

DID = "did:plc:ann"


class BlueskyPlatform(Platform):
    """The stream of one account's posts, with events of accounts in between.

    Attributes:
        sequences: v2: messages carry a sequence number, which is the cursor.
        oldest: the first event that is kept.
        quiet: nobody else does anything.
    """

    kind: ClassVar[str] = "bluesky"
    can: ClassVar[frozenset[str]] = frozenset({"late", "edit", "delete"})
    breakages: ClassVar = ({"text": None}, {"text": 12}, {"text": ["a"]})

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.sequences = False
        self.oldest = 0
        self.quiet = False
        super().__init__()
        self._socket = serve(
            self._stream, "127.0.0.1", 0, process_request=self._greet, close_timeout=1
        )
        self._socket_thread = threading.Thread(target=self._socket.serve_forever, daemon=True)
        self._socket_thread.start()

    def block(self) -> dict[str, Any]:
        port = self._socket.socket.getsockname()[1]
        return {
            "jetstream": f"ws://127.0.0.1:{port}",
            "service": self.server.url,
            "burst_events": 100,
        }

    def source_id(self, post: Post) -> str:
        return f"at://{DID}/app.bsky.feed.post/3k{post.number}"

    def add(
        self, number: int, posted_at: datetime, text: str = "", seen_at: datetime | None = None
    ) -> Post:
        post = super().add(number, posted_at, text, seen_at)
        self.tell("create", post)
        return post

    def edit(self, number: int, text: str) -> None:
        super().edit(number, text)
        self.tell("update", self.posts[number])

    def delete(self, number: int) -> None:
        super().delete(number)
        self.tell("delete", self.posts[number])

    def tell(self, operation: str, post: Post) -> None:
        commit = {
            "rev": f"r{len(self.log)}",
            "operation": operation,
            "collection": "app.bsky.feed.post",
            "rkey": f"3k{post.number}",
        }
        self.event({"kind": "commit", "commit": commit}, post)

    def event(self, event: dict[str, Any], post: Post | None = None) -> None:
        moment = max(time.time_ns() // 1_000, self.log[-1]["time_us"] + 1 if self.log else 0)
        self.log.append({"did": DID, "time_us": moment, **event, "post": post})

    def message(self, number: int) -> str:
        event = {name: value for name, value in self.log[number].items() if name != "post"}
        post = self.log[number]["post"]
        if post is not None and event["commit"]["operation"] != "delete":
            said = {
                "$type": "app.bsky.feed.post",
                "text": post.text,
                "createdAt": post.posted_at.isoformat(),
                "langs": ["en"],
                **post.broken,
            }
            event = {**event, "commit": {**event["commit"], "record": said, "cid": f"b{number}"}}
        if self.sequences:
            event["seq"] = 1_000 + number
        return json.dumps(event)

    def _greet(self, connection: ServerConnection, request: Any) -> Response | None:
        parts = urlsplit(request.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        asked = Request("GET", parts.path, query, dict(request.headers.raw_items()), b"", "")
        self.server.requests.append(asked)
        self.server.times.append(datetime.now(UTC))
        fault = self.server.faults.pop(0) if self.server.faults else self.server.fault
        reply = fault(asked, Reply(b"x" * 100)) if fault else Reply()
        connection.breaks = reply.cut is not None or (
            fault is not None and len(reply.content) == 50
        )
        if self.sequences and int(query.get("cursor", 10**6)) < 1_000 + self.oldest:
            reply = Reply({"error": "CursorTooOld"}, 400)
        is_page = fault is not None and not connection.breaks
        if reply.status == 200 and not is_page:
            return None
        headers = Headers({**reply.headers, "Content-Length": str(len(reply.content))})
        return Response(reply.status, HTTPStatus(reply.status).phrase, headers, reply.content)

    def _stream(self, connection: ServerConnection) -> None:
        query = parse_qs(urlsplit(connection.request.path).query)
        assert query["wantedCollections"] == ["app.bsky.feed.post"]
        start = self.oldest
        if "cursor" in query:
            cursor = int(query["cursor"][0])
            while start < len(self.log) and self._cursor_of(start) < cursor:
                start += 1
        else:
            start = len(self.log)
        if connection.breaks:
            for number in range(start, min(start + 20, len(self.log))):
                connection.send(self.message(number))
            connection.socket.close()
            return
        try:
            for number in range(start, len(self.log)):
                connection.send(self.message(number))
            if not self.quiet:  # what others do moves the clock
                self.event({"kind": "identity", "identity": {"did": DID}})
                connection.send(self.message(len(self.log) - 1))
            connection.recv(timeout=5)
        except (ConnectionClosed, TimeoutError):
            return

    def _cursor_of(self, number: int) -> int:
        return 1_000 + number if self.sequences else int(self.log[number]["time_us"])

    def handle(self, request: Request) -> Reply:
        if request.path == "/xrpc/app.bsky.feed.searchPosts":
            return Reply({"error": "Forbidden"}, 403)
        if request.path == "/xrpc/app.bsky.feed.getPosts":
            wanted = request.lists["uris"]
            assert len(wanted) <= 25
            return Reply(
                {"posts": [self.view(p) for p in self.alive if self.source_id(p) in wanted]}
            )
        assert request.path == "/xrpc/app.bsky.feed.getAuthorFeed"
        found = self.alive[::-1]
        start, size = int(request.query.get("cursor", 0)), int(request.query["limit"])
        more = {"cursor": str(start + size)} if start + size < len(found) else {}
        pinned = {"reason": {"$type": "pin"}, "post": self.view(found[-1])} if found else {}
        feed = [{"post": self.view(post)} for post in found[start : start + size]]
        return Reply({"feed": [pinned, *feed] if start == 0 and pinned else feed, **more})

    def view(self, post: Post) -> dict[str, Any]:
        said = {"text": post.text, "createdAt": post.posted_at.isoformat()}
        return {
            "uri": self.source_id(post),
            "cid": "b",
            "author": {"did": DID, "handle": "ann.example"},
            "record": said,
            "indexedAt": post.posted_at.isoformat(),
            "likeCount": 2,
        }

    def close(self) -> None:
        self._socket.shutdown()
        self._socket_thread.join()
        super().close()
