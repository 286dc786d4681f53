"""A Zendesk account: what was changed by cursor, deleted tickets among it, nothing of the last moment."""

import base64
from datetime import datetime, timedelta
from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

TOKEN = "zd-canary-token"


class ZendeskPlatform(Platform):
    """Its tickets; a cursor is the time of the last change that a page showed, and the ticket."""

    kind: ClassVar[str] = "zendesk"
    environment: ClassVar[dict[str, str]] = {"ZD_EMAIL": "ann@shop.example", "ZD_TOKEN": TOKEN}
    breakages: ClassVar = (
        {"created_at": "soon"},
        {"created_at": None},
        {"description": "", "subject": ""},
    )
    page_size = 100

    def block(self) -> dict[str, Any]:
        return {
            "server": self.server.url,
            "email": {"env": "ZD_EMAIL"},
            "token": {"env": "ZD_TOKEN"},
            "requests_per_minute": 6_000,
        }

    def source_id(self, post: Post) -> str:
        return str(35_436 + post.number)

    def changed_at(self, post: Post) -> datetime:
        times = (post.posted_at, post.edited_at, post.deleted_at, post.seen_at)
        return max(time for time in times if time)

    def handle(self, request: Request) -> Reply:
        pair = base64.b64encode(f"ann@shop.example/token:{TOKEN}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            return Reply({"error": "Couldn't authenticate you"}, 401)
        assert request.path == "/api/v2/incremental/tickets/cursor.json"
        known = sorted((self.changed_at(post), post.number) for post in self.posts.values())
        if "cursor" in request.query:
            moment, _, number = request.query["cursor"].partition("|")
            if not number:
                return Reply({"error": "InvalidCursor"}, 422)
            begin = (datetime.fromisoformat(moment), int(number))
        else:
            start = float(request.query["start_time"])
            age = datetime.now().timestamp() - start  # noqa: DTZ005 (seconds since 1970)
            if age < timedelta(minutes=1).total_seconds():
                return Reply({"error": "StartTimeTooRecent"}, 422)
            begin = (
                datetime.fromtimestamp(start - 0.001, known[0][0].tzinfo) if known else None,
                0,
            )
        found = [key for key in known if key > begin]
        page = found[: self.page_size]
        last = page[-1] if page else begin
        cursor = f"{last[0].isoformat()}|{last[1]}" if last[0] else "2026-01-01T00:00:00+00:00|0"
        return Reply(
            {
                "tickets": [self.ticket(self.posts[number]) for _, number in page],
                "after_cursor": cursor,
                "end_of_stream": len(found) <= self.page_size,
            }
        )

    def ticket(self, post: Post) -> dict[str, Any]:
        is_deleted = post.deleted_at is not None
        return {
            "id": int(self.source_id(post)),
            "created_at": post.posted_at.isoformat(),
            "updated_at": self.changed_at(post).isoformat(),
            "subject": "SCRUBBED" if is_deleted else "A question",
            "description": "SCRUBBED" if is_deleted else post.text,
            "status": "deleted" if is_deleted else "open",
            "requester_id": 7,
            "satisfaction_rating": {"score": "good"},
            **post.broken,
        }
