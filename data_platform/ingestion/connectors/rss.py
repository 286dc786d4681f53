"""RSS and Atom: the entries of feed documents."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from time import struct_time
from typing import Any

import feedparser

from data_platform.feed_settings import RssFeed
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Listing,
    Record,
    Token,
    Traits,
    Window,
    part,
    utc,
)
from data_platform.ingestion.connectors.http import Answer, HiccupError

# Enough of a document's entries to see whether a later one continues it.
REMEMBERED_IDS = 50


class RssConnector(Connector[RssFeed]):
    """Reads each document whole, and asks only for one that has changed."""

    traits = Traits(
        title="RSS and Atom",
        reach="what the document holds, often the newest 10 to 50 entries; what it does not hold any"
        " more is told as unreachable",
        edits="an entry that is listed again with another text",
        deletions="not shown: an entry that is not listed any more is only old",
        overlap=timedelta(),
        id_type="the entry's guid or id, else its link",
        cost="a request a document; nothing to read when it has not changed (ETag, Last-Modified)",
        needs="the address of the document",
        listed_by="events",
    )

    def streams(self) -> list[str]:
        """One for each address; a digest stands for its query, which may hold a token."""
        return list(self._addresses)

    @property
    def _addresses(self) -> dict[str, str]:
        return {_name_of(url): url for url in self.feed.urls}

    def fetch(self, window: Window, token: Token | None) -> Listing:  # noqa: ARG002 (one page)
        """Return all entries of the document, or none where it is the one that was read last."""
        position = window.position or {}
        known = {"If-None-Match": "etag", "If-Modified-Since": "modified"}
        headers = {name: position[key] for name, key in known.items() if position.get(key)}
        answer = self.http.request(
            "GET", self._addresses[window.stream], headers=headers, accept=(200, 304), check=_parsed
        )
        if answer.status == 304:
            return Listing([], position=window.position)
        items = [_item(dict(entry)) for entry in _parsed(answer).entries]
        ids = [_id_of(item) for item in items]
        found = {
            "etag": answer.headers.get("etag"),
            "modified": answer.headers.get("last-modified"),
            "ids": ids[:REMEMBERED_IDS],
        }
        oldest = min((at for i in items if (at := utc(i["published"]))), default=None)
        continues = bool(set(position.get("ids", ())) & set(ids))
        if oldest is None or oldest <= window.since or continues:
            return Listing(items, position=found)
        return Listing(
            items,
            position=found,
            unreachable_before=min(oldest, window.until),
            unreachable_reason=f"the document holds only its newest {len(items)} entries",
        )

    def record(self, item: Item) -> Record:
        """An entry; one without any date breaks the contract, and is kept in quarantine."""
        published, updated = item["published"], item["updated"]
        return {
            "source_id": _id_of(item),
            "posted_at": published,
            "edited_at": updated if updated != published else None,
            "title": item["title"],
            "body": item["body"] or item["title"],
            "author_handle": item["author"],
            "language": None,
            "url": item["link"],
        }

    def probe(self) -> str:
        """Read each document."""
        now = datetime.now(UTC)
        seen = []
        for stream in self.streams():
            page = self.fetch(Window(stream, now - timedelta(days=1), now), None)
            seen.append(f"{len(page.items)} entries")
        return "; ".join(seen)


def _name_of(url: str) -> str:
    place, mark, query = url.partition("?")
    return place + mark + sha256(query.encode()).hexdigest()[:12] if query else url


def _parsed(answer: Answer) -> Any:
    """Return the document as feedparser reads it; broken ones as far as they can be read.

    Raises:
        HiccupError: it is no feed, but a page for people, or cut before its first entry.
    """
    if answer.status == 304:
        return None
    # A stream, because feedparser takes bytes for the name of a file.
    document = feedparser.parse(io.BytesIO(answer.content))
    if not document.get("version") or (document.bozo and not document.entries):
        message = f"{answer.url.partition('?')[0]} answered with what is no RSS and no Atom"
        raise HiccupError(message)
    declared = answer.headers.get("content-length")
    if document.bozo and declared and answer.content.rstrip()[-1:] != b">":
        message = f"{answer.url.partition('?')[0]} answered with a document that is cut"
        raise HiccupError(message)
    return document


def _item(entry: Mapping[str, Any]) -> dict[str, str | None]:
    """Return what an entry says, as JSON that quarantine can keep."""
    published = _time(entry, "published") or _time(entry, "updated") or _time(entry, "created")
    contents = [part(content, "value") for content in entry.get("content", ())]
    return {
        "id": entry.get("id"),
        "link": entry.get("link"),
        "title": entry.get("title"),
        "body": next((text for text in contents if text), None) or entry.get("summary"),
        "author": entry.get("author"),
        "published": published or entry.get("published") or entry.get("updated"),
        "updated": _time(entry, "updated") or published,
    }


def _time(entry: Mapping[str, Any], name: str) -> str | None:
    read = entry.get(f"{name}_parsed")
    if not isinstance(read, struct_time):
        return None
    try:
        return datetime(*read[:6], tzinfo=UTC).isoformat()
    except ValueError:
        return None


def _id_of(item: Item) -> str | None:
    if item.get("id") or item.get("link"):
        return str(item.get("id") or item.get("link"))
    text = f"{item.get('title')}|{item.get('published')}"
    return sha256(text.encode()).hexdigest() if item.get("title") else None
