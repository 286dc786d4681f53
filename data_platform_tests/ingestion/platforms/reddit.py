"""Reddit: fullnames in base 36, listings newest first that end after 1,000, tokens by client credentials."""

import base64
from typing import Any, ClassVar
from urllib.parse import parse_qs

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

CLIENT = "reddit-client"
SECRET = "reddit-s3cret"
USER_AGENT = "python:customer-feedback-platform"
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class RedditPlatform(Platform):
    """One subreddit: odd numbers are posts, even ones are comments."""

    kind: ClassVar[str] = "reddit"
    environment: ClassVar[dict[str, str]] = {
        "REDDIT_CLIENT_ID": CLIENT,
        "REDDIT_CLIENT_SECRET": SECRET,
    }
    breakages: ClassVar = (
        {"created_utc": "soon"},
        {"created_utc": None},
        {"body": "", "selftext": "", "title": ""},
        {"name": ""},
        {"score": "many"},
    )
    reach: ClassVar[int] = 1_000

    def __init__(self) -> None:
        self.tokens: list[str] = []
        super().__init__()

    def block(self) -> dict[str, Any]:
        return {
            "server": self.server.url,
            "token_server": self.server.url,
            "subreddits": ["shop"],
            "client_id": {"env": "REDDIT_CLIENT_ID"},
            "client_secret": {"env": "REDDIT_CLIENT_SECRET"},
        }

    def source_id(self, post: Post) -> str:
        number, digits = 2_000_000_000 + post.number, ""
        while number:
            number, digit = divmod(number, 36)
            digits = DIGITS[digit] + digits
        return f"{'t3' if post.number % 2 else 't1'}_{digits}"

    def thing(self, post: Post) -> dict[str, Any]:
        is_comment = post.number % 2 == 0
        text = post.text if post.deleted_at is None else "[deleted]"
        data = {
            "name": self.source_id(post),
            "id": self.source_id(post)[3:],
            "author": "ann" if post.deleted_at is None else "[deleted]",
            "created_utc": float(int(post.posted_at.timestamp())),
            "edited": float(int(post.edited_at.timestamp())) if post.edited_at else False,
            "score": -2,
            "permalink": f"/r/shop/comments/x/{post.number}/",
            **({"body": text, "link_id": "t3_x", "parent_id": "t3_x"} if is_comment else {}),
            **({} if is_comment else {"title": "My order", "selftext": text, "num_comments": 0}),
            **post.broken,
        }
        return {"kind": "t1" if is_comment else "t3", "data": data}

    def handle(self, request: Request) -> Reply:
        if not request.headers["user-agent"].startswith(USER_AGENT):
            return Reply(b"<html>whoa there, pardner!</html>", 403)
        if request.path == "/api/v1/access_token":
            return self._token(request)
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if sent not in self.tokens:
            return Reply({"message": "Unauthorized", "error": 401}, 401)
        if request.path == "/api/info":
            names = request.query["id"].split(",")
            assert len(names) <= 100
            return self._listing([p for p in self.posts.values() if self.source_id(p) in names])
        newest = self.alive[::-1]
        if request.path == "/r/shop/new":
            return self._page([post for post in newest if post.number % 2], request)
        if request.path == "/r/shop/comments":
            return self._page([post for post in newest if post.number % 2 == 0], request)
        if request.path == "/search":
            words = request.query["q"]
            return self._page([p for p in newest if p.number % 2 and words in p.text], request)
        if request.path.startswith("/r/"):
            return Reply(b"", 302, {"Location": "/subreddits/search?q=shop"})
        return self._listing([])

    def _token(self, request: Request) -> Reply:
        pair = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        form = parse_qs(request.body.decode())
        if request.headers.get("authorization") != f"Basic {pair}":
            said = f"Unauthorized: {request.headers.get('authorization')}"
            return Reply({"message": said, "error": 401}, 401)
        if form.get("grant_type") != ["client_credentials"]:
            return Reply({"error": "unsupported_grant_type"})
        self.tokens.append(f"token-{len(self.tokens)}-of-reddit")
        found = {"access_token": self.tokens[-1], "token_type": "bearer", "expires_in": 86_400}
        return Reply({**found, "scope": "*"})

    def _page(self, posts: list[Post], request: Request) -> Reply:
        """Items behind `after`, also where that one was deleted meanwhile."""
        posts = posts[: self.reach]
        limit = min(int(request.query.get("limit", 25)), 100)
        if "after" in request.query:
            (last,) = [
                p for p in self.posts.values() if self.source_id(p) == request.query["after"]
            ]
            place = (last.posted_at, last.number)
            posts = [post for post in posts if (post.posted_at, post.number) < place]
        page = posts[:limit]
        return self._listing(page, self.source_id(page[-1]) if len(posts) > limit else None)

    def _listing(self, posts: list[Post], after: str | None = None) -> Reply:
        data = {"children": [self.thing(post) for post in posts], "after": after, "before": None}
        headers = {"x-ratelimit-remaining": "599.0", "x-ratelimit-reset": "525"}
        return Reply({"kind": "Listing", "data": data}, headers=headers)
