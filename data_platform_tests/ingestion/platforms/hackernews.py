"""Hacker News: a search that lists 1,000 items of a query and leaves out the deleted, and items by their number."""

import re
from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

REACH = 1_000
STORY = 40_000_000


class HackerNewsPlatform(Platform):
    """Odd posts are stories, even ones are comments on the same story."""

    kind: ClassVar[str] = "hackernews"
    breakages: ClassVar = (
        {"created_at_i": "soon"},
        {"created_at_i": None},
        {"comment_text": "", "story_text": None, "title": ""},
        {"objectID": ""},
        {"points": "many"},
    )

    def block(self) -> dict[str, Any]:
        return {"server": f"{self.server.url}/api/v1", "items": f"{self.server.url}/v0"}

    def source_id(self, post: Post) -> str:
        return str(41_000_000 + post.number)

    def hit(self, post: Post) -> dict[str, Any]:
        is_comment = post.number % 2 == 0
        return {
            "objectID": self.source_id(post),
            "created_at": post.posted_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "created_at_i": int(post.posted_at.timestamp()),
            "author": "ann",
            "title": None if is_comment else f"Ask HN: {post.number}",
            "url": None,
            "points": None if is_comment else 3,
            "story_text": None if is_comment else post.text,
            "comment_text": post.text if is_comment else None,
            "num_comments": None if is_comment else 0,
            "story_id": STORY if is_comment else int(self.source_id(post)),
            "parent_id": STORY if is_comment else None,
            **post.broken,
        }

    def item(self, post: Post) -> dict[str, Any]:
        known = {
            "id": int(self.source_id(post)),
            "time": int(post.posted_at.timestamp()),
            "type": "story" if post.number % 2 else "comment",
        }
        if post.deleted_at is not None:
            return {**known, "deleted": True}
        return {**known, "by": "ann", "text": post.text, "parent": STORY}

    def handle(self, request: Request) -> Reply:
        if found := re.fullmatch(r"/v0/item/(\d+)\.json", request.path):
            post = self.posts.get(int(found[1]) - 41_000_000)
            return Reply(self.item(post) if post else None)
        if request.path != "/api/v1/search_by_date":
            return Reply({"message": "Not Found", "status": 404}, 404)
        filters = r"created_at_i>=(\d+),created_at_i<(\d+)"
        since, until = map(int, re.fullmatch(filters, request.query["numericFilters"]).groups())
        tags = request.query["tags"].strip("()").split(",")
        words = request.query.get("query", "").lower()
        posts = [
            post
            for post in reversed(self.alive)
            if since <= int(post.posted_at.timestamp()) < until
            and ("story" if post.number % 2 else "comment") in tags
            and words in post.text.lower()
        ]
        size = min(int(request.query.get("hitsPerPage", 20)), REACH)
        page = int(request.query.get("page", 0))
        start = page * size
        return Reply(
            {
                "hits": [self.hit(post) for post in posts[:REACH][start : start + size]],
                "nbHits": len(posts),
                "page": page,
                "nbPages": -(-min(len(posts), REACH) // size),
                "hitsPerPage": size,
            }
        )
