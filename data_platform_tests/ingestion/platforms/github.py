"""GitHub: issues and comments by the time of their last change, Link headers, deletions that nobody is told of."""

from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

REPOSITORY = "/repos/shop/app"
TOKEN = "github-t0ken"


class GitHubPlatform(Platform):
    """One repository: odd numbers are issues, even ones are comments."""

    kind: ClassVar[str] = "github"
    can: ClassVar[frozenset[str]] = frozenset({"window", "late", "edit"})
    environment: ClassVar[dict[str, str]] = {"GITHUB_FEED_TOKEN": TOKEN}
    breakages: ClassVar = (
        {"created_at": "soon"},
        {"created_at": None},
        {"html_url": None, "body": "", "title": ""},
        {"reactions": {"+1": "many"}},
        {"body": "", "title": None},
    )

    def block(self) -> dict[str, Any]:
        token = {"env": "GITHUB_FEED_TOKEN"}
        return {"server": self.server.url, "repositories": ["shop/app"], "token": token}

    def source_id(self, post: Post) -> str:
        return f"{'issue' if post.number % 2 else 'comment'}:{3_000_000_000 + post.number}"

    def changed_at(self, post: Post) -> datetime:
        return (post.edited_at or post.posted_at).replace(microsecond=0)

    def item(self, post: Post) -> dict[str, Any]:
        url = "https://github.com/shop/app/issues"
        own: dict[str, Any] = {
            "html_url": f"{url}/{post.number}",
            "number": post.number,
            "title": "It crashes",
            "state": "open",
            "comments": 0,
        }
        if post.number % 2 == 0:
            own = {
                "html_url": f"{url}/1#issuecomment-{post.number}",
                "issue_url": "https://api.github.com/repos/shop/app/issues/1",
            }
        return {
            **own,
            "id": 3_000_000_000 + post.number,
            "created_at": post.posted_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "updated_at": self.changed_at(post).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "body": post.text,
            "user": {"login": "ann", "id": 7},
            "reactions": {"+1": 2, "-1": 0},
            **post.broken,
        }

    def handle(self, request: Request) -> Reply:
        if request.headers.get("authorization", f"Bearer {TOKEN}") != f"Bearer {TOKEN}":
            said = f"Bad credentials: {request.headers['authorization']}"
            return Reply({"message": said, "status": "401"}, 401)
        if request.path not in (f"{REPOSITORY}/issues", f"{REPOSITORY}/issues/comments"):
            return Reply({"message": "Not Found", "status": "404"}, 404)
        query = request.query
        is_comments = request.path.endswith("comments")
        since = datetime.fromisoformat(query["since"])
        posts = [
            post
            for post in self.alive
            if (post.number % 2 == 0) == is_comments and self.changed_at(post) >= since
        ]
        if not is_comments and query.get("state") != "all":
            posts = []  # none of them is what was asked for by default: open ones alone
        by_change = query.get("sort") == "updated"
        posts.sort(key=lambda p: (self.changed_at(p) if by_change else p.posted_at, p.number))
        if query.get("direction") != "asc":
            posts.reverse()
        size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        headers = {"X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": "1893456000"}
        if page * size < len(posts):
            following = urlencode({**query, "page": page + 1})
            headers["Link"] = f'<{request.url}?{following}>; rel="next"'
        items = [self.item(post) for post in posts[(page - 1) * size : page * size]]
        return Reply(items, headers=headers)
