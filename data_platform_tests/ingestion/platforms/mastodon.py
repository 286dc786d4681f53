"""A Mastodon server: snowflake ids, pages newest first, Link headers, ISO reset header without Retry-After."""

from datetime import datetime
from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

TIMELINE = "/api/v1/timelines/tag/shop"


class MastodonPlatform(Platform):
    """One hashtag of one server."""

    kind: ClassVar[str] = "mastodon"
    breakages: ClassVar = ({"created_at": 12}, {"created_at": None}, {"content": None}, {"uri": ""})

    def __init__(self) -> None:
        self.versions: dict[int, list[tuple[str, str]]] = {}
        super().__init__()

    def edit(self, number: int, text: str) -> None:
        post = self.posts[number]
        first = [(post.posted_at.isoformat(), self.text_of(post))]
        known = self.versions.setdefault(number, first)
        super().edit(number, text)
        assert post.edited_at
        known.append((post.edited_at.isoformat(), self.text_of(post)))

    def block(self) -> dict[str, Any]:
        return {"server": self.server.url, "hashtags": ["shop"]}

    def native_id(self, post: Post) -> int:
        return (int(post.posted_at.timestamp() * 1000) << 16) + post.number

    def source_id(self, post: Post) -> str:
        return f"https://social.example/users/u/statuses/{post.number}"

    def text_of(self, post: Post) -> str:
        return f"<p>{post.text}</p>"

    def item(self, post: Post) -> dict[str, Any]:
        def text(at: datetime | None) -> str | None:
            return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None

        return {
            "id": str(self.native_id(post)),
            "uri": self.source_id(post),
            "created_at": text(post.posted_at),
            "edited_at": text(post.edited_at),
            "content": self.text_of(post),
            "spoiler_text": "",
            "visibility": "public",
            "language": "en",
            "url": f"https://social.example/@u/{post.number}",
            "favourites_count": 0,
            "reblogs_count": 0,
            "replies_count": 0,
            "reblog": None,
            "account": {"acct": "u", "uri": "https://social.example/users/u"},
            **post.broken,
        }

    def handle(self, request: Request) -> Reply:
        if request.path.endswith("/history"):
            wanted = request.path.split("/")[-2]
            (post,) = (p for p in self.alive if str(self.native_id(p)) == wanted)
            versions = self.versions.get(post.number, [])
            return Reply(
                [{"content": c, "spoiler_text": "", "created_at": at} for at, c in versions]
            )
        if request.path.startswith("/api/v1/statuses/"):
            wanted = request.path.rpartition("/")[2]
            found = [p for p in self.alive if str(self.native_id(p)) == wanted]
            return Reply(self.item(found[0])) if found else Reply({"error": "Not Found"}, 404)
        if request.path != TIMELINE:
            return Reply({"error": "Not Found"}, 404)
        limit = min(int(request.query.get("limit", 20)), 40)
        posts = sorted(self.alive, key=self.native_id, reverse=True)
        if "max_id" in request.query:
            posts = [p for p in posts if self.native_id(p) < int(request.query["max_id"])]
        if "min_id" in request.query:
            posts = [p for p in posts if self.native_id(p) > int(request.query["min_id"])]
            page = posts[-limit:]
        else:
            page = posts[:limit]
        headers = {}
        if page:
            ids = [self.native_id(post) for post in page]
            headers["Link"] = (
                f'<{request.url}?max_id={ids[-1]}>; rel="next",'
                f' <{request.url}?min_id={ids[0]}>; rel="prev"'
            )
        return Reply([self.item(post) for post in page], headers=headers)
