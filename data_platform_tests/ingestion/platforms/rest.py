"""A company's own API: records with numbers as ids, a cursor in the answer, a window by time of change."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

SECRET = "s3cret-of-the-shop"


class RestPlatform(Platform):
    """Reviews of a shop; a deleted one is listed as deleted."""

    kind: ClassVar[str] = "rest"
    environment: ClassVar[dict[str, str]] = {"SHOP_API_TOKEN": SECRET}
    breakages: ClassVar = ({"written_at": "soon"}, {"written_at": None}, {"text": ""}, {"id": None})

    def block(self) -> dict[str, Any]:
        return {
            "url": f"{self.server.url}/api/reviews?kind=public",
            "auth": {"bearer": True, "secret": {"env": "SHOP_API_TOKEN"}},
            "records": "data.items",
            "paging": {
                "by": "cursor",
                "next_path": "data.next",
                "parameter": "after",
                "size": 100,
                "size_parameter": "limit",
            },
            "window": {
                "since_parameter": "changed_since",
                "by": "edited_at",
                "format": "%Y-%m-%dT%H:%M:%S.%fZ",
            },
            "fields": {
                "source_id": "id",
                "posted_at": "written_at",
                "edited_at": "edited_at",
                "body": "text",
                "author_handle": "author.name",
                "is_deleted": "is_deleted",
            },
        }

    def source_id(self, post: Post) -> str:
        return str(9_007_199_254_740_993 + 2 * post.number)

    def changed_at(self, post: Post) -> datetime:
        times = (post.posted_at, post.edited_at, post.deleted_at, post.seen_at)
        return max(time for time in times if time)

    def handle(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {SECRET}":
            return Reply({"error": f"no right: {request.headers.get('authorization')}"}, 401)
        assert request.query["kind"] == "public"
        since = datetime.fromisoformat(request.query["changed_since"])
        limit = int(request.query["limit"])
        known = [p for p in self.posts.values() if self.changed_at(p) >= since]
        known.sort(key=lambda p: (self.changed_at(p), p.number))
        start = int(request.query.get("after", "0"))
        page = known[start : start + limit]
        following = str(start + limit) if start + limit < len(known) else None
        items = [
            {
                "id": int(self.source_id(post)),
                "written_at": post.posted_at.isoformat(),
                "edited_at": post.edited_at.isoformat() if post.edited_at else None,
                "text": post.text,
                "author": {"name": "ann"},
                "is_deleted": post.deleted_at is not None,
                **post.broken,
            }
            for post in page
        ]
        return Reply({"data": {"items": items, "next": following}, "at": str(datetime.now(UTC))})
