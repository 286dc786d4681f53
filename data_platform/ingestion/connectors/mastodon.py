"""Mastodon: hashtags, accounts, searches and the public timeline of one or more servers."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from data_platform.errors import GoneError, PermanentSourceError
from data_platform.feed_settings import MastodonFeed
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
    list_at,
    objects,
    part,
    utc,
)
from data_platform.ingestion.connectors.http import Answer, Http

PAGE_SIZE = 40  # the most that timelines give: docs.joinmastodon.org/methods/timelines
# Ids are milliseconds since 1970, then 16 bits: mastodon/lib/mastodon/snowflake.rb. Other servers
# that speak the API have other ids, so this is believed only where a page shows it.
ID_SHIFT = 16
ID_TOLERANCE = timedelta(days=1)


class MastodonConnector(Connector[MastodonFeed]):
    """Walks timelines forward from a known post, and backward from a moment.

    Forward, `min_id` gives the page right behind a post: nothing can fall between two pages,
    where `since_id` would give the newest page and leave a gap. Backward it follows `max_id`.
    """

    traits = Traits(
        title="Mastodon",
        reach="whole hashtags and accounts, as far as the server knows them",
        edits="edited posts carry edited_at; seen while they are within the overlap",
        deletions="posts that are missing from what is read again are asked for one by one",
        overlap=timedelta(hours=6),
        id_type="global URI; a server's own ids are 64-bit numbers and differ between servers",
        cost="a page is 40 posts; 300 requests in 5 minutes for each account and address",
        needs="nothing for most public timelines; an access token (read:statuses) for searches, and"
        " for servers that close their timelines",
    )

    def __init__(self, feed: MastodonFeed, http: Http) -> None:
        super().__init__(feed, http)
        if feed.token is not None:
            secret = feed.token.read()
            http.authorize = lambda _: {"Authorization": f"Bearer {secret}"}

    def streams(self) -> list[str]:
        """One for each server and hashtag, account, search or timeline, such as 'tag:shop@https://…'."""
        names = [
            *(f"tag:{name.lstrip('#')}" for name in self.feed.hashtags),
            *(f"account:{name.lstrip('@')}" for name in self.feed.accounts),
            *(f"search:{words}" for words in self.feed.search),
            *(["public:"] if self.feed.public else []),
        ]
        return [f"{name}@{server}" for server in self.feed.server for name in names]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return one page: forward where a position is known, else backward from the window's end."""
        stream, _, server = window.stream.rpartition("@")
        kind, _, name = stream.partition(":")
        if kind == "search":
            return self._search(server, name, token)
        url, parameters = self._timeline(server, kind, name, token)
        account = {"account": parameters.pop("account")} if "account" in parameters else {}
        if window.position is not None and (token is None or "min_id" in token):
            return self._forward(url, parameters, account, window, token or window.position)
        return self._backward(url, parameters, account, window, token or {})

    def _timeline(
        self, server: str, kind: str, name: str, token: Token | None
    ) -> tuple[str, dict[str, Any]]:
        match kind:
            case "tag":
                return f"{server}/api/v1/timelines/tag/{quote(name, safe='')}", {}
            case "public":
                return f"{server}/api/v1/timelines/public", {}
            case _:
                known = (token or {}).get("account")
                account = known or self._account(server, name)
                options = {"exclude_reblogs": "true", "account": account}
                return f"{server}/api/v1/accounts/{quote(account, safe='')}/statuses", options

    def _account(self, server: str, name: str) -> str:
        found = self.http.get_json(f"{server}/api/v1/accounts/lookup", {"acct": name})
        if not isinstance(account := part(found, "id"), str):
            message = f"{server} names no id of the account {name!r}"
            raise PermanentSourceError(message)
        return account

    def _forward(
        self,
        url: str,
        parameters: dict[str, Any],
        account: dict[str, str],
        window: Window,
        token: Token,
    ) -> Listing:
        answer, items = self._page(url, {**parameters, "min_id": token["min_id"]})
        newest = _linked(answer, "prev", "min_id") or _newest_id(items)
        if not items and newest in (None, token["min_id"]):
            return Listing([], position={"min_id": token["min_id"]})
        position = {"min_id": newest or token["min_id"]}
        times = [at for item in items if (at := utc(part(item, "created_at")))]
        is_behind = bool(times) and min(times) >= window.until
        go_on = not is_behind and position["min_id"] != token["min_id"]
        return Listing(items, {**position, **account} if go_on else None, position)

    def _backward(
        self,
        url: str,
        parameters: dict[str, Any],
        account: dict[str, str],
        window: Window,
        token: Token,
    ) -> Listing:
        answer, items = self._page(url, {**parameters, "max_id": token.get("max_id")})
        newest = token.get("newest") or _newest_id(items)
        position = {"min_id": newest} if newest else None
        times = [at for item in items if (at := utc(part(item, "created_at")))]
        below = _linked(answer, "next", "max_id")
        if below is None and items and not answer.links:
            below = _oldest_id(items)
        # A page is beyond the window when its newest post is: pages need not be in order.
        is_beyond = bool(times) and max(times) < window.since
        if below is None or is_beyond or below == token.get("max_id"):
            return Listing(items, None, position)
        if not token and times and min(times) > window.until and _ids_are_times(items):
            jump = int(window.until.timestamp() * 1000) << ID_SHIFT
            below = str(min(jump, int(below))) if below.isdecimal() else below
        return Listing(items, {"max_id": below, "newest": newest, **account}, position)

    def _search(self, server: str, words: str, token: Token | None) -> Listing:
        offset = int((token or {}).get("offset", 0))
        query = {"q": words, "type": "statuses", "limit": PAGE_SIZE, "offset": offset or None}
        answer = self.http.get_json(f"{server}/api/v2/search", query)
        items = list_at(answer, "statuses")
        return Listing(items, {"offset": offset + len(items)} if items else None)

    def _page(self, url: str, parameters: dict[str, Any]) -> tuple[Answer, list[object]]:
        answer = self.http.request(
            "GET", url, {**parameters, "limit": PAGE_SIZE}, check=Answer.json
        )
        found = answer.json()
        if not isinstance(found, list):
            message = f"{urlsplit(url).path} is no list of posts; is {url} a Mastodon server?"
            raise PermanentSourceError(message)
        if self.feed.history:
            server = url.partition("/api/")[0]
            edited = [item for item in objects(found) if item.get("edited_at")]
            found = [*found, *(v for item in edited for v in self._versions(server, item))]
        return answer, found

    def _versions(self, server: str, item: Item) -> list[Item]:
        """Return the earlier versions of an edited post (Mastodon 3.5 and later)."""
        number = quote(str(item.get("id")), safe="")
        try:
            versions = self.http.get_json(f"{server}/api/v1/statuses/{number}/history")
        except GoneError:
            return []
        if not isinstance(versions, list):
            return []
        first, *later = [v for v in versions[:-1] if isinstance(v, dict)] or [{}]
        told = [({**item, **_said(first), "edited_at": None}) if first else None]
        told += [{**item, **_said(v), "edited_at": v.get("created_at")} for v in later]
        return [version for version in told if version is not None]

    def record(self, item: Item) -> Record | None:
        """A status; boosts are the post of another, and no feedback of their own."""
        if isinstance(item.get("reblog"), dict):
            return None
        warning = item.get("spoiler_text")
        return {
            "source_id": item.get("uri"),
            "posted_at": item.get("created_at"),
            "edited_at": item.get("edited_at"),
            "title": warning or None,
            "body": item.get("content"),
            "author_handle": part(item, "account", "uri")
            or part(item, "account", "url")
            or part(item, "account", "acct"),
            "language": item.get("language"),
            "url": item.get("url"),
            "like_count": item.get("favourites_count"),
            "share_count": item.get("reblogs_count"),
            "reply_count": item.get("replies_count"),
        }

    def native_id(self, item: Item, stream: str) -> str:
        """The id that the server which listed the post knows it by, with that server's address."""
        return f"{item.get('id')}@{stream.rpartition('@')[2]}"

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        """Ask for each post by itself: there is no call for several (404: it is gone)."""
        found = Rechecked()
        for post in posts:
            native_id, _, server = post.native_id.partition("@")
            try:
                status = self.http.get_json(f"{server}/api/v1/statuses/{quote(native_id, safe='')}")
            except GoneError:
                found.gone.append(post.source_id)
            else:
                found.items += objects([status])
        return found

    def probe(self) -> str:
        """Read one post of each listing's server."""
        seen = []
        for stream in self.streams():
            moment = datetime.now(UTC)
            page = self.fetch(Window(stream, moment - timedelta(minutes=1), moment), None)
            seen.append(f"{stream}: {len(page.items)} post(s) on a page")
        return "; ".join(seen)


def _said(version: Item) -> dict[str, Any]:
    return {name: version.get(name) for name in ("content", "spoiler_text")}


def _linked(answer: Answer, relation: str, name: str) -> str | None:
    """Return a parameter of the address that the Link header names; None where there is none."""
    values = parse_qs(urlsplit(answer.links.get(relation, "")).query).get(name)
    return values[0] if values else None


def _newest_id(items: Sequence[object]) -> str | None:
    return max(_dated_ids(items), default=(None, "", None))[2]


def _oldest_id(items: Sequence[object]) -> str | None:
    return min(_dated_ids(items), default=(None, "", None))[2]


def _dated_ids(items: Sequence[object]) -> list[tuple[Any, str, str | None]]:
    return [
        (at, str(item["id"]).zfill(24), str(item["id"]))
        for item in objects(items)
        if "id" in item and (at := utc(item.get("created_at")))
    ]


def _ids_are_times(items: Sequence[object]) -> bool:
    """True if every id of a page tells the time of its post."""
    return all(
        str(item.get("id")).isdecimal()
        and (at := utc(item.get("created_at"))) is not None
        and abs(at - (utc((int(str(item["id"])) >> ID_SHIFT) / 1000) or at)) < ID_TOLERANCE
        for item in objects(items)
    )
