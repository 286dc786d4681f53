"""YouTube: threads by the time of their top comment, a few replies in each, the others by themselves."""

from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

KEY = "AIza-canary-of-the-tests"
REPLIES_SHOWN = 5
REPLIES = 8  # numbers 10 to 17 of each twenty reply to the first of the twenty


class YouTubePlatform(Platform):
    """The comments of one video."""

    kind: ClassVar[str] = "youtube"
    environment: ClassVar[dict[str, str]] = {"YOUTUBE_KEY": KEY}
    breakages: ClassVar = (
        {"publishedAt": "soon"},
        {"publishedAt": None},
        {"textDisplay": ""},
        {"likeCount": "many"},
    )

    def __init__(self) -> None:
        self.quota_is_spent = False
        super().__init__()

    def block(self) -> dict[str, Any]:
        return {"server": self.server.url, "videos": ["vid1"], "key": {"env": "YOUTUBE_KEY"}}

    def source_id(self, post: Post) -> str:
        return f"Ugx{post.number:04}AaABAg"

    def is_reply(self, post: Post) -> bool:
        top = self.posts.get(post.number // 20 * 20)
        is_one = 10 <= post.number % 20 < 10 + REPLIES
        return is_one and top is not None and top.deleted_at is None

    def comment(self, post: Post) -> dict[str, Any]:
        said: dict[str, Any] = {
            "authorDisplayName": "ann",
            "authorChannelId": {"value": "UC1"},
            "textDisplay": post.text,
            "videoId": "vid1",
            "likeCount": 1,
            "publishedAt": post.posted_at.isoformat(),
            "updatedAt": (post.edited_at or post.posted_at).isoformat(),
            **post.broken,
        }
        if self.is_reply(post):
            said["parentId"] = self.source_id(self.posts[post.number // 20 * 20])
        return {"kind": "youtube#comment", "id": self.source_id(post), "snippet": said}

    def handle(self, request: Request) -> Reply:
        if request.headers.get("x-goog-api-key") != KEY:
            return self._error(400, "badRequest", "API key not valid. Please pass a valid API key.")
        if self.quota_is_spent:
            return self._error(403, "quotaExceeded", "The request cannot be completed")
        query = request.query
        size = int(query.get("maxResults", 20))
        start = int(query.get("pageToken", "P0")[1:])
        if request.path == "/comments" and "id" in query:
            wanted = set(query["id"].split(","))
            return Reply(
                {"items": [self.comment(p) for p in self.alive if self.source_id(p) in wanted]}
            )
        if request.path == "/comments":
            found = [
                self.comment(p)
                for p in self.alive
                if self.is_reply(p) and self.comment(p)["snippet"]["parentId"] == query["parentId"]
            ]
        else:
            assert query["videoId"] == "vid1"
            assert query["order"] == "time"
            found = [self.thread(p) for p in reversed(self.alive) if not self.is_reply(p)]
        page = found[start : start + size]
        more = {"nextPageToken": f"P{start + size}"} if start + size < len(found) else {}
        return Reply({"items": page, "pageInfo": {"totalResults": len(found)}, **more})

    def thread(self, post: Post) -> dict[str, Any]:
        replies = [p for p in self.alive if self.is_reply(p) and p.number // 20 * 20 == post.number]
        shown = [self.comment(p) for p in replies[:REPLIES_SHOWN]]
        return {
            "kind": "youtube#commentThread",
            "id": self.source_id(post),
            "snippet": {
                "videoId": "vid1",
                "topLevelComment": self.comment(post),
                "totalReplyCount": len(replies),
            },
            **({"replies": {"comments": shown}} if shown else {}),
        }

    def _error(self, code: int, reason: str, message: str) -> Reply:
        error = {"code": code, "message": message, "errors": [{"reason": reason}]}
        return Reply({"error": error}, code)
