"""Reddit: posts and comments of subreddits, and searches over all of Reddit."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import RedditFeed
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Known,
    Listing,
    Rechecked,
    Record,
    Token,
    Traits,
    Window,
    iso,
    list_at,
    objects,
    part,
    utc,
)
from data_platform.ingestion.connectors.http import Answer, Http
from data_platform.ingestion.connectors.oauth import ClientCredentials

PAGE_SIZE = 100  # the most, of listings and of /api/info: www.reddit.com/dev/api
# Listings end at about 1,000 items and searches at about 250, removed ones counted: github.com/
# praw-dev/praw/issues/430, github.com/not-an-aardvark/snoowrap/issues/162. Later ends are not its end.
CUT_FROM = {"posts": 800, "comments": 800, "search": 200}
MARKERS = ("[deleted]", "[removed]")


class RedditConnector(Connector[RedditFeed]):
    """Walks listings from their newest item back to the window's begin, as far as they go."""

    traits = Traits(
        title="Reddit",
        reach="the newest 1,000 posts and 1,000 comments of a subreddit, 250 posts of a search;"
        " what lies before is told as unreachable",
        edits="edited posts and comments carry the time; seen while they are within the overlap",
        deletions="posts that are missing from what is read again are asked for, 100 at a time;"
        " those that are not there, or marked [deleted] or [removed], are gone",
        overlap=timedelta(hours=6),
        id_type="fullname: t3_ (post) or t1_ (comment) and a number in base 36",
        cost="a page is 100 items; 100 requests a minute for each client id",
        needs="an application that Reddit has approved: its client id and secret",
    )
    asked_at_once = PAGE_SIZE

    def __init__(self, feed: RedditFeed, http: Http) -> None:
        super().__init__(feed, http)
        # github.com/reddit-archive/reddit/wiki/OAuth2, "Application Only OAuth"; tokens live for a day.
        http.authorize = ClientCredentials(
            http,
            f"{feed.token_server}/api/v1/access_token",
            feed.client_id.read(),
            feed.client_secret.read(),
            headers={"User-Agent": feed.user_agent},
        )

    def streams(self) -> list[str]:
        """Such as 'posts:shop', 'comments:shop' and 'search:words'."""
        kinds = ("posts", "comments") if self.feed.comments else ("posts",)
        names = [name.strip("/").removeprefix("r/") for name in self.feed.subreddits]
        return [
            *(f"{kind}:{name}" for name in names for kind in kinds),
            *(f"search:{words}" for words in self.feed.search),
        ]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return one page, newest first; the last one says if the listing ended before the window."""
        kind, _, name = window.stream.partition(":")
        count, after, oldest = (
            (token["count"], token["after"], utc(token["oldest"])) if token else (0, None, None)
        )
        parameters = {"limit": PAGE_SIZE, "after": after, "count": count or None}
        match kind:
            case "search":
                query = {"q": name, "sort": "new", "t": "all", "type": "link"}
                answer, items = self._ask("/search", {**parameters, **query})
            case "comments":
                answer, items = self._ask(f"/r/{quote(name, safe='')}/comments", parameters)
            case _:
                answer, items = self._ask(f"/r/{quote(name, safe='')}/new", parameters)
        times = [at for item in items if (at := utc(part(item, "created_utc")))]
        oldest = min([*times, *([oldest] if oldest else [])], default=None)
        count += len(items)
        below = part(answer, "data", "after")
        is_beyond = bool(times) and max(times) < window.since
        if isinstance(below, str) and below and not is_beyond:
            place = oldest.isoformat() if oldest else None
            return Listing(items, {"after": below, "count": count, "oldest": place})
        if is_beyond or oldest is None or oldest < window.since or count < CUT_FROM[kind]:
            return Listing(items)
        return Listing(
            items,
            unreachable_before=oldest + timedelta(seconds=1),  # others may be of the same second
            unreachable_reason=f"Reddit lists only the newest {count:,} items here; the oldest of"
            f" them is of {oldest:%Y-%m-%d %H:%M:%S} UTC",
        )

    def _ask(self, path: str, parameters: Mapping[str, Any]) -> tuple[object, list[object]]:
        url = f"{self.feed.server}{path}"
        # raw_json: without it < > & are written as in HTML: www.reddit.com/dev/api, "overview".
        query = {**parameters, "raw_json": 1}
        found = self.http.request("GET", url, query, check=Answer.json)
        if urlsplit(found.url).path.startswith("/subreddits"):
            message = f"{url} leads to a search for subreddits: there is none of this name"
            raise PermanentSourceError(message)
        answer = found.json()
        if not isinstance(part(answer, "data", "children"), list):
            message = f"{url} is no listing of Reddit"
            raise PermanentSourceError(message)
        children = list_at(answer, "data", "children")
        return answer, [part(child, "data") or child for child in children]

    def record(self, item: Item) -> Record:
        """A post or a comment; a link without text says its title."""
        if _is_gone(item):
            return {
                "source_id": item.get("name"),
                "posted_at": iso(item.get("created_utc")),
                "change": "delete",
            }
        title = item.get("title") or None
        edited = item.get("edited")
        author, score = item.get("author"), item.get("score")
        path = item.get("permalink")
        return {
            "source_id": item.get("name"),
            "posted_at": iso(item.get("created_utc")),
            # False, and true without a time for what was edited before 2012.
            "edited_at": None if isinstance(edited, bool) else iso(edited),
            "title": title,
            "body": item.get("body") or item.get("selftext") or title,
            "author_handle": None if author in MARKERS else author,
            "conversation_id": item.get("link_id") or item.get("name"),
            "parent_id": item.get("parent_id"),
            "url": f"https://www.reddit.com{path}" if path else None,
            # More may have voted against it than for it.
            "like_count": max(score, 0) if isinstance(score, int) else score,
            "reply_count": None if "body" in item else item.get("num_comments"),
        }

    def native_id(self, item: Item, stream: str) -> str:  # noqa: ARG002 (one id everywhere)
        """The fullname."""
        return str(item.get("name", ""))

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        """Ask for posts 100 at a time; `record` tells which of those that are there are deleted."""
        found = Rechecked()
        for start in range(0, len(posts), PAGE_SIZE):
            asked = posts[start : start + PAGE_SIZE]
            names = ",".join(post.native_id for post in asked)
            _, items = self._ask("/api/info", {"id": names})
            there = {str(item.get("name")) for item in objects(items)}
            found.items += objects(items)
            found.gone += [post.source_id for post in asked if post.native_id not in there]
        return found

    def probe(self) -> str:
        """Read the newest page of the first listing."""
        stream, now = self.streams()[0], datetime.now(UTC)
        page = self.fetch(Window(stream, now - timedelta(minutes=1), now), None)
        return f"{stream}: {len(page.items)} item(s) on a page"


def _is_gone(item: Item) -> bool:
    """Deleted by its author or removed; an author alone is [deleted] where the account is."""
    text = item.get("body") if "body" in item else item.get("selftext")
    is_marked = item.get("author") == "[deleted]" and text in MARKERS
    return is_marked or bool(item.get("removed_by_category"))
