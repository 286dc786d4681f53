"""Hacker News: stories and comments that its search lists, all of them or those with certain words."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import HackerNewsFeed
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
    objects,
)

EVERYTHING = "all"
QUERY = "query:"
PAGE_SIZE = 1_000  # the most that the search gives: hn.algolia.com/api, and of one query in all
SITE = "https://news.ycombinator.com/item?id="


class HackerNewsConnector(Connector[HackerNewsFeed]):
    """Reads a window in stretches that are short enough for the search to list whole.

    A query lists about 1,000 items however many it finds, so a stretch with more is split in the
    middle. The token holds the stretches that are still to be read, oldest first, in seconds, and what
    was lost: the end of the latest second that holds more.
    """

    traits = Traits(
        title="Hacker News",
        reach="everything since 2006",
        edits="edited texts are listed in place of the former ones, without a time; authors may"
        " edit for two hours, so they are seen within the overlap",
        deletions="posts that are missing from what is read again are asked for one by one;"
        " deleted and dead ones count as gone",
        overlap=timedelta(hours=3),
        id_type="whole numbers that increase; stored as text",
        cost="a page is up to 1,000 posts; 10,000 requests an hour for each address",
        needs="nothing",
    )

    def streams(self) -> list[str]:
        """One for each query, such as 'query:shop'; 'all' without any."""
        return [f"{QUERY}{words}" for words in self.feed.queries] or [EVERYTHING]

    def fetch(self, window: Window, token: Token | None) -> Listing:
        """Return one page of the oldest stretch that is left, or split it if it holds too much."""
        whole = [math.floor(window.since.timestamp()), math.ceil(window.until.timestamp())]
        place = token or {"stretches": [whole], "page": 0, "lost": None}
        (first, end), *rest = place["stretches"]
        page, lost = place["page"], place["lost"]
        answer = self._search(window.stream, first, end, {"hitsPerPage": PAGE_SIZE, "page": page})
        hits = answer["hits"]
        found, pages, size = (
            _whole(answer, name, default)
            for name, default in (("nbHits", len(hits)), ("nbPages", 1), ("hitsPerPage", PAGE_SIZE))
        )
        reach = pages * size
        if found > reach and end - first > 1 and page == 0:
            middle = (first + end) // 2
            halves = [[first, middle], [middle, end], *rest]
            # They come again with their half; only a preview ends after the first page.
            return Listing([] if token else hits, {**place, "stretches": halves})
        if page + 1 < pages:
            return Listing(hits, {**place, "page": page + 1})
        if found > reach:
            lost = [end, found, reach]
        if rest:
            return Listing(hits, {"stretches": rest, "page": 0, "lost": lost})
        return Listing(hits) if lost is None else _listing_that_lost(hits, *lost)

    def _search(
        self, stream: str, first: int, end: int, parameters: Mapping[str, int]
    ) -> dict[str, Any]:
        url = f"{self.feed.server}/search_by_date"
        query = {
            "query": stream.removeprefix(QUERY) if stream != EVERYTHING else None,
            "tags": f"({','.join(self.feed.tags)})",  # in brackets: one of them
            "numericFilters": f"created_at_i>={first},created_at_i<{end}",
            **parameters,
        }
        answer = self.http.get_json(url, query)
        if not isinstance(answer, dict) or not isinstance(answer.get("hits"), list):
            message = f"{url} lists no hits; is it the search of Hacker News?"
            raise PermanentSourceError(message)
        return answer

    def record(self, item: Item) -> Record:
        """A hit of the search, or an item as Firebase writes it; a link without text says its title."""
        if "objectID" not in item:
            return self._firebase_record(item)
        parent = item.get("parent_id")
        thread = item.get("story_id") or (item["objectID"] if parent is None else None)
        title = item.get("title") or None
        return {
            "source_id": item["objectID"],
            "posted_at": iso(item.get("created_at_i")),
            "title": title,
            "body": item.get("comment_text") or item.get("story_text") or title,
            "author_handle": item.get("author"),
            "conversation_id": thread,
            "parent_id": parent,
            "url": f"{SITE}{item['objectID']}",
            "like_count": _at_least_0(item.get("points")),
            "reply_count": item.get("num_comments"),
        }

    def _firebase_record(self, item: Item) -> Record:
        """An item that the search does not list any more, such as one edited out of a query."""
        parent = item.get("parent")
        title = item.get("title") or None
        return {
            "source_id": item["id"],
            "posted_at": iso(item.get("time")),
            "title": title,
            "body": item.get("text") or title,
            "author_handle": item.get("by"),
            "conversation_id": item["id"] if parent is None else None,  # comments do not say it
            "parent_id": parent,
            "url": f"{SITE}{item['id']}",
            "like_count": _at_least_0(item.get("score")),
            "reply_count": item.get("descendants"),
        }

    def native_id(self, item: Item, stream: str) -> str:  # noqa: ARG002 (one id everywhere)
        """The number that both the search and Firebase know it by."""
        return str(item.get("objectID") or item.get("id") or "")

    def recheck(self, posts: Sequence[Known]) -> Rechecked:
        """Ask Firebase for each post: null, deleted and dead ones are gone."""
        found = Rechecked()
        for post in posts:
            item = self.http.get_json(f"{self.feed.items}/item/{post.native_id}.json")
            flags = item if isinstance(item, dict) else {}
            if item is None or flags.get("deleted") is True or flags.get("dead") is True:
                found.gone.append(post.source_id)
            else:
                found.items += objects([item])
        return found

    def probe(self) -> str:
        """Count what each listing holds of the last hour."""
        now = math.ceil(datetime.now(UTC).timestamp())
        seen = []
        for stream in self.streams():
            answer = self._search(stream, now - 3_600, now, {"hitsPerPage": 1})
            seen.append(f"{stream}: {_whole(answer, 'nbHits', 0):,} post(s) in the last hour")
        return "; ".join(seen)


def _listing_that_lost(hits: Sequence[object], end: int, found: int, reach: int) -> Listing:
    """Return a last page, with the second in which more was written than the search lists."""
    until = datetime.fromtimestamp(end, UTC)
    reason = (
        f"{found:,} posts were written in the second before {until:%Y-%m-%d %H:%M:%S} UTC, and the"
        f" search lists {reach:,} of them"
    )
    return Listing(hits, unreachable_before=until, unreachable_reason=reason)


def _whole(answer: Mapping[str, Any], name: str, default: int) -> int:
    """Return a whole number of an answer; `default` where there is none."""
    value = answer.get(name)
    return value if isinstance(value, int) else default


def _at_least_0(points: object) -> object:
    """Points may be negative, and likes are not."""
    return max(points, 0) if isinstance(points, int) else points
