"""Google Play: reviews of your own apps, of the last week."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from data_platform.errors import ConfigurationError, PermanentSourceError
from data_platform.feed_settings import GooglePlayFeed
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
)
from data_platform.ingestion.connectors.http import Answer, Http
from data_platform.ingestion.connectors.signed import signed_token

PAGE_SIZE = 100  # the most: developers.google.com/android-publisher/api-ref/rest/v3/reviews/list
# "You can retrieve only the reviews that users have created or modified within the last week":
# developers.google.com/android-publisher/reply-to-reviews.
REACH = timedelta(days=7)
SCOPE = "https://www.googleapis.com/auth/androidpublisher"
TOKEN_LIFE = timedelta(minutes=55)


class GooglePlayConnector(Connector[GooglePlayFeed]):
    """Lists all reviews that Google shows, every time: a week of them, without any filter."""

    traits = Traits(
        title="Google Play reviews",
        reach="reviews of the last week, with text, of production releases",
        edits="a review that was edited is listed again with the new time",
        deletions="not shown: a deleted review is listed no more, as is one of an earlier week",
        overlap=timedelta(days=1),
        id_type="text, such as gp:AOqpTOE…",
        cost="a page is 100 reviews; 200 requests an hour",
        needs="a service account with the right to reply to reviews, and its JSON key",
        listed_by="changed",
    )

    def __init__(self, feed: GooglePlayFeed, http: Http) -> None:
        super().__init__(feed, http)
        http.authorize = _ServiceAccount(feed, http)

    def streams(self) -> list[str]:
        """One for each package."""
        return list(self.feed.packages)

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return a page; the last one says if the window began before what Google lists."""
        package = quote(window.stream, safe="")
        answer = self.http.get_json(
            f"{self.feed.server}/applications/{package}/reviews",
            {"maxResults": PAGE_SIZE, "token": part(token, "page")},
        )
        # Without reviews the answer is an empty object.
        items = required_list(answer, "reviews") if answer != {} else []
        below = part(answer, "tokenPagination", "nextPageToken")
        if isinstance(below, str) and below:
            return Listing(items, {"page": below})
        reach = datetime.now(UTC) - REACH
        if window.since >= reach:
            return Listing(items)
        return Listing(
            items,
            unreachable_before=min(reach, window.until),
            unreachable_reason="Google Play lists only the reviews of the last week",
        )

    def record(self, item: Item) -> Record:
        """A review: the user's latest comment; the developer's reply is left out."""
        comments = (part(comment, "userComment") for comment in list_at(item, "comments"))
        said: Any = next((found for found in comments if found is not None), None)
        seconds = int(said["lastModified"]["seconds"])
        moment = datetime.fromtimestamp(seconds, UTC) + timedelta(
            microseconds=int(said["lastModified"].get("nanos", 0)) // 1000
        )
        title, _, body = str(said["text"]).rpartition("\t")
        return {
            "source_id": item.get("reviewId"),
            "posted_at": moment.isoformat(),
            "title": title.strip() or None,
            "body": body.strip(),
            "author_handle": item.get("authorName"),
            "language": said.get("reviewerLanguage"),
            "rating": said.get("starRating"),
            "like_count": said.get("thumbsUpCount"),
        }

    def native_id(self, item: Item, stream: str) -> str:  # noqa: ARG002 (one id everywhere)
        """The review's id."""
        return str(item.get("reviewId", ""))

    def probe(self) -> str:
        """Read the first page of each package."""
        now = datetime.now(UTC)
        counts = [
            f"{name}: {len(self.fetch(Window(name, now, now), None).items)} review(s) on a page"
            for name in self.feed.packages
        ]
        return "; ".join(counts)


class _ServiceAccount:
    """Access tokens for a service account: developers.google.com/identity/protocols/oauth2/service-account."""

    def __init__(self, feed: GooglePlayFeed, http: Http) -> None:
        self._http = http
        try:
            key = json.loads(feed.service_account.read())
            self._email, self._key = str(key["client_email"]), str(key["private_key"])
            self._url = str(key["token_uri"])
        except (ValueError, KeyError, TypeError) as error:
            name = feed.service_account.env
            message = f"{name} does not hold the JSON key of a service account"
            raise ConfigurationError(message) from error
        self._header: Mapping[str, str] = {}
        self._good_until = datetime.min.replace(tzinfo=UTC)

    def __call__(self, renew: bool) -> Mapping[str, str]:
        now = datetime.now(UTC)
        if renew or now >= self._good_until:
            claims = {
                "iss": self._email,
                "scope": SCOPE,
                "aud": self._url,
                "iat": int(now.timestamp()),
                "exp": int((now + TOKEN_LIFE).timestamp()),
            }
            form = {
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": signed_token(claims, self._key, "RS256"),
            }
            answer = self._http.request(
                "POST", self._url, data=form, authorized=False, check=Answer.json
            ).json()
            token = part(answer, "access_token")
            if not isinstance(token, str) or not token:
                message = f"{self._url} gave no access token for {self._email}"
                raise PermanentSourceError(message)
            self._header = {"Authorization": f"Bearer {token}"}
            self._good_until = now + TOKEN_LIFE - timedelta(minutes=5)
        return self._header
