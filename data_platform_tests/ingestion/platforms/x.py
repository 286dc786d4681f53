"""X: a search of the last seven days, newest first, snowflake ids, edits with new ids, lookups by id."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from data_platform_tests.ingestion.platforms.platform import Platform, Post
from data_platform_tests.ingestion.platforms.server import Reply, Request

BEARER = "AAAA-canary-of-x"


class XPlatform(Platform):
    """One search."""

    kind: ClassVar[str] = "x"
    environment: ClassVar[dict[str, str]] = {"X_TOKEN": BEARER}
    breakages: ClassVar = (
        {"text": ""},
        {"created_at": "soon"},
        {"public_metrics": {"like_count": "x"}},
    )

    def block(self) -> dict[str, Any]:
        return {
            "server": f"{self.server.url}/2",
            "queries": ["our shop"],
            "token": {"env": "X_TOKEN"},
            "usd_per_day": 1000,
        }

    def snowflake(self, moment: datetime, number: int) -> int:
        return ((int(moment.timestamp() * 1000) - 1_288_834_974_657) << 22) + number

    def source_id(self, post: Post) -> str:
        return str(self.snowflake(post.posted_at, post.number))

    def written_at(self, post: Post) -> datetime:
        return post.edited_at or post.posted_at

    def item(self, post: Post) -> dict[str, Any]:
        first, number = (
            self.source_id(post),
            str(self.snowflake(self.written_at(post), post.number)),
        )
        return {
            "id": number,
            "edit_history_tweet_ids": list(dict.fromkeys([first, number])),
            "text": post.text,
            "created_at": self.written_at(post).isoformat(),
            "author_id": "7",
            "public_metrics": {"like_count": 1, "retweet_count": 0, "reply_count": 0},
            **post.broken,
        }

    def __init__(self) -> None:
        self.job: list[str] | None = None
        super().__init__()

    def handle(self, request: Request) -> Reply:
        if request.path.startswith("/storage/"):
            assert "authorization" not in request.headers
            if request.method == "PUT":
                self.job = request.body.decode().split()
                return Reply(b"")
            there = {n for post in self.alive for n in self.item(post)["edit_history_tweet_ids"]}
            gone = [n for n in self.job or () if n not in there]
            lines = "".join(
                f'{{"id": "{n}", "action": "delete", "reason": "deleted"}}\n' for n in gone
            )
            return Reply(lines.encode())
        if request.headers.get("authorization") != f"Bearer {BEARER}":
            return Reply({"title": "Unauthorized"}, 401)
        query = request.query
        if request.path.startswith("/2/compliance/jobs"):
            places = {
                f"{way}_url": f"{self.server.url}/storage/{way}?sig=1"
                for way in ("upload", "download")
            }
            state = "created" if request.method == "POST" or self.job is None else "complete"
            return Reply({"data": {"id": "77", "status": state, **places}})
        if request.path == "/2/tweets":
            wanted = query["ids"].split(",")
            items = {
                number: item
                for item in map(self.item, self.alive)
                for number in item["edit_history_tweet_ids"]
                if number in wanted
            }
            kind = "https://api.twitter.com/2/problems/resource-not-found"
            errors = [{"resource_id": n, "type": kind} for n in wanted if n not in items]
            return Reply({"data": list(items.values()), "errors": errors})
        assert request.path == "/2/tweets/search/recent"
        assert 10 <= int(query["max_results"]) <= 100
        now = datetime.now(UTC)
        since, until = (datetime.fromisoformat(query[name]) for name in ("start_time", "end_time"))
        if since < now - timedelta(days=7) or until > now - timedelta(seconds=10) or since >= until:
            return Reply({"errors": [{"message": "Invalid 'start_time' or 'end_time'"}]}, 400)
        start = int(query.get("next_token", "n0")[1:])
        found = sorted(self.alive, key=lambda p: (self.written_at(p), p.number), reverse=True)
        found = [post for post in found if since <= self.written_at(post) < until]
        size = int(query["max_results"])
        page = found[start : start + size]
        more = {"next_token": f"n{start + size}"} if start + size < len(found) else {}
        meta = {"result_count": len(page), **more}
        return Reply(
            {"data": [self.item(p) for p in page], "meta": meta} if page else {"meta": meta}
        )
