"""App Store: customer reviews, from the public feed of any app, or from App Store Connect for your own."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin, urlsplit

import feedparser

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import AppStoreFeed
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Listing,
    Record,
    Token,
    Traits,
    Window,
    list_at,
    part,
    required_list,
    utc,
)
from data_platform.ingestion.connectors.http import Answer, HiccupError, Http
from data_platform.ingestion.connectors.signed import signed_token

# The public feed: ten pages of 50, newest first; its JSON variant has become empty (observed 2026).
PUBLIC_PAGES = 10
# developer.apple.com/documentation/appstoreconnectapi: limit at most 200; tokens of at most 20 min.
CONNECT_PAGE_SIZE = 200
TOKEN_LIFE = timedelta(minutes=15)


class AppStoreConnector(Connector[AppStoreFeed]):
    """Walks reviews from the newest back to the window's begin."""

    traits = Traits(
        title="App Store reviews",
        reach="public feed: the newest 500 reviews of each storefront; App Store Connect: all",
        edits="public feed: an edited review is listed again; App Store Connect: within the overlap",
        deletions="not shown: a review that is listed no more stays",
        overlap=timedelta(days=2),
        id_type="whole numbers as text (public feed); text (App Store Connect)",
        cost="a page is 50 reviews (public), 200 (App Store Connect, 3,600 requests an hour)",
        needs="the numeric id of the app; for App Store Connect a private key with its ids",
        listed_by="events",
    )

    def __init__(self, feed: AppStoreFeed, http: Http) -> None:
        super().__init__(feed, http)
        if feed.key is not None:
            http.authorize = self._header

    def _header(self, renew: bool) -> dict[str, str]:  # noqa: ARG002 (each is new)
        assert self.feed.key is not None
        now = datetime.now(UTC)
        claims = {
            "iss": self.feed.issuer_id,
            "iat": int(now.timestamp()),
            "exp": int((now + TOKEN_LIFE).timestamp()),
            "aud": "appstoreconnect-v1",
        }
        token = signed_token(claims, self.feed.key.read(), "ES256", {"kid": self.feed.key_id or ""})
        return {"Authorization": f"Bearer {token}"}

    def streams(self) -> list[str]:
        """With a key one for each app, else one for each storefront and app, such as 'us:284882215'."""
        if self.feed.key is not None:
            return [f"connect:{app}" for app in self.feed.apps]
        return [f"{country}:{app}" for app in self.feed.apps for country in self.feed.countries]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return a page, newest first."""
        place, _, app = window.stream.partition(":")
        if place == "connect":
            return self._connect(app, window, token)
        return self._public(place, app, window, token)

    def _public(self, country: str, app: str, window: Window, token: Token | None) -> Listing:
        page = int((token or {}).get("page", 1))
        url = f"{self.feed.server}/{country}/rss/customerreviews/page={page}/id={app}/sortby=mostrecent/xml"
        document = _parsed(self.http.request("GET", url, check=_parsed))
        # Older feeds list the app itself as the first entry: it has no rating.
        items = [_item(dict(entry)) for entry in document.entries if "im_rating" in entry]
        times = [at for item in items if (at := utc(item["updated"]))]
        oldest = min(
            [*times, *([at] if (at := utc((token or {}).get("oldest"))) else [])], default=None
        )
        if not items or (times and max(times) < window.since):
            return Listing(items)
        if page < PUBLIC_PAGES:
            below = {"page": page + 1, "oldest": oldest.isoformat() if oldest else None}
            return Listing(items, below)
        if oldest is None or oldest < window.since:
            return Listing(items)
        return Listing(
            items,
            unreachable_before=oldest,
            unreachable_reason="the public feed lists only the newest 500 reviews of a storefront",
        )

    def _connect(self, app: str, window: Window, token: Token | None) -> Listing:
        if token is not None:
            answer = self.http.get_json(token["url"])
        else:
            url = f"{self.feed.connect_server}/v1/apps/{app}/customerReviews"
            answer = self.http.get_json(url, {"sort": "-createdDate", "limit": CONNECT_PAGE_SIZE})
        items = required_list(answer, "data")
        times = [at for item in items if (at := utc(part(item, "attributes", "createdDate")))]
        below = part(answer, "links", "next")
        if not isinstance(below, str) or not below or (times and max(times) < window.since):
            return Listing(items)
        following = urljoin(self.feed.connect_server, below)
        if urlsplit(following)[:2] != urlsplit(self.feed.connect_server)[:2]:
            message = "App Store Connect leads to another host; the token is not sent there"
            raise PermanentSourceError(message)
        return Listing(items, {"url": following})

    def record(self, item: Item) -> Record:
        """A review, of either interface."""
        said = item.get("attributes")
        if said is not None:
            return {
                "source_id": item.get("id"),
                "posted_at": said.get("createdDate"),
                "title": said.get("title"),
                "body": said.get("body"),
                "author_handle": said.get("reviewerNickname"),
                "rating": said.get("rating"),
            }
        return {
            "source_id": item["id"],
            "posted_at": item["updated"],
            "title": item["title"],
            "body": item["body"],
            "author_handle": item["author"],
            "rating": item["rating"],
            "like_count": item["votes"],
        }

    def probe(self) -> str:
        """Read the newest page of the first listing."""
        stream, now = self.streams()[0], datetime.now(UTC)
        page = self.fetch(Window(stream, now - timedelta(minutes=1), now), None)
        return f"{stream}: {len(page.items)} review(s) on a page"


def _parsed(answer: Answer) -> Any:
    """Return the public feed as feedparser reads it.

    Raises:
        HiccupError: it is no feed, or cut.
    """
    # A stream, because feedparser takes bytes for the name of a file.
    document = feedparser.parse(io.BytesIO(answer.content))
    if not document.get("version") or not answer.content.rstrip().endswith(b">"):
        message = "the App Store answered with what is no feed of reviews, or with a part of it"
        raise HiccupError(message)
    if document.bozo and b"</feed>" not in answer.content[-200:]:
        message = "the App Store answered with a feed that is cut"
        raise HiccupError(message)
    return document


def _item(entry: dict[str, Any]) -> dict[str, str | None]:
    """Return what an entry says, as JSON that quarantine can keep."""
    contents = list_at(entry, "content")
    plain = next((c for c in contents if part(c, "type") == "text/plain"), None)
    body = part(plain, "value") or part(contents, 0, "value") or entry.get("summary")
    return {
        "id": entry.get("id"),
        "updated": entry.get("updated"),
        "title": entry.get("title"),
        "body": body,
        "author": entry.get("author"),
        "rating": entry.get("im_rating"),
        "votes": entry.get("im_votecount"),
    }
