"""X: posts that a search finds, of the last seven days or of the whole archive, with their price counted."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from data_platform.errors import GoneError, RefusedError, TokenExpiredError, UnreachableError
from data_platform.feed_settings import XFeed
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
    required_list,
    utc,
)
from data_platform.ingestion.connectors.http import Answer, Http
from data_platform.ingestion.connectors.json_records import parse_object

logger = logging.getLogger(__name__)

# docs.x.com/x-api/posts/search-recent-posts: 10 to 100; search-all-posts: up to 500, one a second.
SMALLEST_PAGE, RECENT_PAGE, ARCHIVE_PAGE = 10, 100, 500
REACH = timedelta(days=7) - timedelta(minutes=1)
# A search that begins there moves on meanwhile; for so long its pages ask for the same times.
MARGIN = timedelta(minutes=15)
# "end_time must be a minimum of 10 seconds prior to the request time": the same pages.
FRESHEST = timedelta(seconds=15)
FIELDS = (
    "created_at,lang,public_metrics,conversation_id,referenced_tweets,author_id,"
    "edit_history_tweet_ids,note_tweet"
)
# Ids hold milliseconds since 4 November 2010 01:42:54.657 UTC above 22 bits (Twitter's snowflake).
FIRST_MILLISECOND, ID_SHIFT = 1_288_834_974_657, 22
# A job of compliance is asked for its state after such pauses: docs.x.com/x-api/compliance.
JOB_PAUSE, JOB_POLLS = timedelta(seconds=5), 24
GONE = ("resource-not-found", "not-authorized-for-resource")


class XConnector(Connector[XFeed]):
    """Walks the results of a search from the newest back; each post read costs money."""

    traits = Traits(
        title="X",
        reach="the last seven days; the whole archive with archive: true, where the account may",
        edits="an edit is a post with a new id that names the first one; seen within the overlap",
        deletions="posts that are missing from what is read again are looked up, many of them by a"
        " compliance job",
        overlap=timedelta(minutes=30),
        id_type="64-bit numbers as text; the first id of an edited post stands for all its versions",
        cost="about 0.005 USD for each post read, again on another day (UTC); 450 requests in 15 min",
        needs="a developer account with credit, and the bearer token of its application",
    )
    asked_at_once = 100  # docs.x.com/x-api/posts/get-posts-by-ids

    def __init__(self, feed: XFeed, http: Http) -> None:
        super().__init__(feed, http)
        token = feed.token.read()
        http.authorize = lambda _: {"Authorization": f"Bearer {token}"}

    def streams(self) -> list[str]:
        """One for each search."""
        return list(self.feed.queries)

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return a page of a search, as large as the money that is left allows."""
        now = datetime.now(UTC)
        since, reach = window.since, now - REACH
        lost: dict[str, Any] = {}
        if not self.feed.archive and since < reach:
            reason = "the search reaches back seven days (archive: true reaches further)"
            if window.until <= reach:
                raise UnreachableError(reason)
            # All pages of a search ask for the same times.
            since = max(utc(part(token, "since")) or reach + MARGIN, reach)
            lost = {"unreachable_before": since, "unreachable_reason": reason}
        until = utc(part(token, "until")) or min(window.until, now - FRESHEST)
        if until <= since:
            return Listing([])
        answer = self._search(window.stream, since, until, part(token, "next"))
        below = part(answer, "meta", "next_token")
        # Without results there is no list, but still what it is about.
        items = list_at(answer, "data") if part(answer, "meta") else required_list(answer, "data")
        if isinstance(below, str) and below:
            following = {"next": below, "since": since.isoformat(), "until": until.isoformat()}
            return Listing(items, following)
        return Listing(items, **lost)

    def _search(self, query: str, since: datetime, until: datetime, page: str | None) -> Any:
        budget, price = self.http.budget, self.feed.usd_per_post
        budget.require_units(SMALLEST_PAGE * price)
        size = ARCHIVE_PAGE if self.feed.archive else RECENT_PAGE
        if budget.units_left is not None and price:
            size = min(size, int(budget.units_left / price))
        kind = "all" if self.feed.archive else "recent"
        parameters = {
            "query": query,
            "start_time": _second(since),
            "end_time": _second(until),
            "max_results": max(size, SMALLEST_PAGE),
            "next_token": page,
            "tweet.fields": FIELDS,
        }
        try:
            answer = self.http.get_json(f"{self.feed.server}/tweets/search/{kind}", parameters)
        except RefusedError as error:
            if page is not None and "next_token" in error.body:
                raise TokenExpiredError(str(error)) from error
            raise
        if self.feed.archive:
            self.http.pause(timedelta(seconds=1), "pace of the archive")
        budget.charge(len(list_at(answer, "data")) * price)
        return answer

    def record(self, item: Item) -> Record | None:
        """A post; a repost is that of another."""
        referenced = [r for r in list_at(item, "referenced_tweets") if isinstance(r, dict)]
        kinds = {str(r.get("type")): r.get("id") for r in referenced}
        if "retweeted" in kinds:
            return None
        number, history = item["id"], list_at(item, "edit_history_tweet_ids")
        first = history[0] if history else number
        created_at = item.get("created_at")
        is_edited = first != number
        return {
            "source_id": first,
            "posted_at": _time_of(first) if is_edited or created_at is None else created_at,
            "edited_at": (created_at or _time_of(number)) if is_edited else None,
            # Beyond 280 characters, text is cut and note_tweet holds the whole.
            "body": part(item, "note_tweet", "text") or item.get("text"),
            "author_handle": item.get("author_id"),
            "language": item.get("lang"),
            "conversation_id": item.get("conversation_id"),
            "parent_id": kinds.get("replied_to"),
            "url": f"https://x.com/i/status/{number}",
            "like_count": part(item, "public_metrics", "like_count"),
            "share_count": part(item, "public_metrics", "retweet_count"),
            "reply_count": part(item, "public_metrics", "reply_count"),
        }

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        """Ask a compliance job for many posts; look up few, or those that no job answers for."""
        if len(posts) >= self.feed.compliance_from:
            try:
                deleted = self._compliance([post.native_id for post in posts])
            except (RefusedError, GoneError) as error:
                logger.warning("X refuses a compliance job, so posts are looked up: %s", error)
            else:
                if deleted is not None:
                    return Rechecked([], [p.source_id for p in posts if p.native_id in deleted])
        return self._looked_up(posts)

    def _compliance(self, ids: Sequence[str]) -> set[str] | None:
        """Return those of the ids that X says to delete; None if it does not answer in two minutes."""
        url = f"{self.feed.server}/compliance/jobs"
        made = self.http.request("POST", url, json={"type": "tweets"}, check=Answer.json).json()
        job = part(made, "data")
        number, upload, download = (part(job, k) for k in ("id", "upload_url", "download_url"))
        if not (isinstance(number, str) and isinstance(upload, str) and isinstance(download, str)):
            return None
        # Both addresses are signed; the token is nobody's business there.
        plain = {"Content-Type": "text/plain"}
        body = "\n".join(ids).encode()
        self.http.request("PUT", upload, headers=plain, content=body, authorized=False)
        for _ in range(JOB_POLLS):
            self.http.pause(JOB_PAUSE, "the compliance job")
            status = part(self.http.get_json(f"{url}/{number}"), "data", "status")
            if status == "complete":
                answer = self.http.request("GET", download, authorized=False)
                lines = [parse_object(line) or {} for line in answer.text.splitlines()]
                return {str(line.get("id")) for line in lines if line.get("action") == "delete"}
            if status in ("failed", "expired"):
                return None
        return None

    def _looked_up(self, posts: Sequence[Known]) -> Rechecked:
        """Look posts up 100 at a time; each that is there costs what a post read costs."""
        found = Rechecked()
        budget, price = self.http.budget, self.feed.usd_per_post
        for start in range(0, len(posts), self.asked_at_once):
            asked = posts[start : start + self.asked_at_once]
            budget.require_units(len(asked) * price)
            ids = ",".join(post.native_id for post in asked)
            answer = self.http.get_json(
                f"{self.feed.server}/tweets", {"ids": ids, "tweet.fields": FIELDS}
            )
            items = list(objects(list_at(answer, "data")))
            budget.charge(len(items) * price)
            found.items += items
            missing = {
                error.get("resource_id") or error.get("value")
                for error in objects(list_at(answer, "errors"))
                if str(error.get("type", "")).rpartition("/")[2] in GONE
            }
            found.gone += [post.source_id for post in asked if post.native_id in missing]
        return found

    def probe(self) -> str:
        """Read the smallest page that X sells."""
        now = datetime.now(UTC) - FRESHEST
        answer = self._search(self.feed.queries[0], now - timedelta(minutes=1), now, None)
        return f"{len(list_at(answer, 'data'))} post(s) of the last minute"


def _second(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _time_of(number: object) -> str | None:
    """Return the time that an id holds; None if it is none."""
    if not str(number).isdecimal():
        return None
    milliseconds = (int(str(number)) >> ID_SHIFT) + FIRST_MILLISECOND
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
