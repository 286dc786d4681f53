"""Stack Exchange: pages by time of creation or activity, 25 of them without a key, quota and backoff in the body."""

from datetime import datetime
from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

FIRST_ID = 70_000_000
KEY = "key-of-the-app(("


class StackExchangePlatform(Platform):
    """One site: odd numbers are questions, the even one behind each is the answer to it."""

    kind: ClassVar[str] = "stackexchange"
    breakages: ClassVar = (
        {"creation_date": "soon"},
        {"creation_date": None},
        {"body": ""},
        {"score": "many"},
        {"question_id": None, "answer_id": None, "body": None},
    )

    def __init__(self) -> None:
        self.quota = 10_000
        self.backoff: int | None = None
        self.tags: dict[int, str] = {}
        super().__init__()

    def block(self) -> dict[str, Any]:
        return {"server": f"{self.server.url}/2.3"}

    def number(self, post: Post) -> int:
        return FIRST_ID + post.number

    def source_id(self, post: Post) -> str:
        return f"stackoverflow:{self.number(post)}"

    def text_of(self, post: Post) -> str:
        return f"<p>{post.text}</p>"

    def active_at(self, question: Post) -> datetime:
        answer = self.posts.get(question.number + 1)
        moments = [m for p in (question, answer) if p for m in (p.posted_at, p.edited_at) if m]
        return max(moments)

    def item(self, post: Post, with_body: bool) -> dict[str, Any]:
        is_answer = post.number % 2 == 0
        number = self.number(post)
        own: dict[str, Any] = {"question_id": number, "title": "How?", "answer_count": 0}
        if is_answer:
            own = {"answer_id": number, "question_id": number - 1}
        else:
            own["link"] = f"https://stackoverflow.com/questions/{number}/how"
            own["last_activity_date"] = int(self.active_at(post).timestamp())
        return {
            **own,
            "creation_date": int(post.posted_at.timestamp()),
            **({"last_edit_date": int(post.edited_at.timestamp())} if post.edited_at else {}),
            "score": -1,
            "owner": {"user_id": 7, "display_name": "ann"},
            **({"body": self.text_of(post)} if with_body else {}),
            **post.broken,
        }

    def handle(self, request: Request) -> Reply:
        query = request.query
        if query.get("site") not in ("stackoverflow", "superuser"):
            return self._error(400, "bad_parameter", f"No site found for name `{query['site']}`")
        if query.get("key", KEY) != KEY:
            return self._error(400, "bad_parameter", "`key` doesn't match a known application")
        page, size = int(query.get("page", 1)), int(query.get("pagesize", 30))
        if size > 100:
            return self._error(400, "bad_parameter", "pagesize")
        if page > 25 and "key" not in query:
            return self._error(403, "access_denied", "page above 25 requires access token or key")
        if self.quota <= 0:
            said = "too many requests from this IP, more requests available in 7200 seconds"
            return self._error(502, "throttle_violation", said)
        self.quota -= 1
        _, _, kind, *rest = request.path.split("/")
        posts = [post for post in self.alive if (post.number % 2 == 0) == (kind == "answers")]
        if rest:
            numbers = {int(number) for number in rest[0].split(";")}
            assert len(numbers) <= 100
            posts = [post for post in posts if self.number(post) in numbers]
        if rest[1:] == ["answers"]:
            posts = [p for p in self.alive if p.number % 2 == 0 and self.number(p) - 1 in numbers]
        if tag := query.get("tagged"):
            assert kind == "questions"
            posts = [post for post in posts if self.tags.get(post.number) == tag]
        found = self._within(posts, query)
        start = (page - 1) * size
        answer = {
            "items": [
                self.item(post, query.get("filter") == "withbody")
                for post in found[start : start + size]
            ],
            "has_more": start + size < len(found),
            "quota_max": 10_000,
            "quota_remaining": self.quota,
            **({"backoff": self.backoff} if self.backoff else {}),
        }
        return Reply(answer)

    def _within(self, posts: list[Post], query: dict[str, str]) -> list[Post]:
        first, last = int(query.get("fromdate", 0)), int(query.get("todate", 2**40))
        posts = [post for post in posts if first <= int(post.posted_at.timestamp()) <= last]
        times = {post.number: int(post.posted_at.timestamp()) for post in posts}
        if query.get("sort", "activity") == "activity":
            times = {post.number: int(self.active_at(post).timestamp()) for post in posts}
        least = int(query.get("min", 0))
        posts = [post for post in posts if times[post.number] >= least]
        newest_first = query.get("order", "desc") == "desc"
        return sorted(posts, key=lambda p: (times[p.number], p.number), reverse=newest_first)

    def _error(self, number: int, name: str, message: str) -> Reply:
        return Reply({"error_id": number, "error_name": name, "error_message": message}, 400)
