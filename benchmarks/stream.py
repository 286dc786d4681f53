"""A source that goes on delivering made-up posts at a rate, in files and in a listing, with all that goes wrong."""

import csv
import json
import os
import random
import threading
import time
from bisect import bisect_left
from ctypes import c_double, c_int
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from data_platform.sample import generate_posts

SECONDS_PER_FILE = 5.0
LISTED_SHARE = 0.2  # of the posts; the others come in files
LATE_SHARE, LATE_DAYS = 0.02, 6
EDITED_SHARE, DELETED_SHARE, COPIED_SHARE, BROKEN_SHARE = 0.02, 0.005, 0.01, 0.005
FILES_PER_COPY = 20  # a file of so many is delivered again under another name
RECENT_POSTS = 100_000  # edits and deletions are of these
PAGE_RECORDS = 500
TEXTS = 20_000
AWAY_EVERY_SECONDS, AWAY_SECONDS = 300.0, 20.0
FILES, LISTING = "posts", "listing"
TRUTH_COLUMNS = ("feedback_id", "is_deleted", "text_md5", "delivered_at", "number")


def feeds(port: int) -> list[dict[str, Any]]:
    """Return the configuration of the two feeds that the source delivers."""
    fields = {
        "source_id": "id",
        "posted_at": "at",
        "edited_at": "edited",
        "body": "text",
        "author_handle": "user",
        "is_deleted": "deleted",
    }
    mapping = {"fields": fields, "constants": {"language": "en"}}
    files = {"name": FILES, "kind": "file", "path": "incoming/*.ndjson", "settle": "0s"}
    listing = {
        "name": LISTING,
        "kind": "rest",
        "url": f"http://127.0.0.1:{port}/posts",
        "records": "items",
        "paging": {"by": "cursor", "next_path": "next", "parameter": "after"},
        "window": {
            "since_parameter": "since",
            "by": "edited_at",
            "format": "%Y-%m-%dT%H:%M:%S.%fZ",
        },
        "overlap": "30s",
        "timeout": "5s",
    }
    return [{**files, **mapping}, {**listing, **mapping}]


@dataclass
class _Posts:
    """What was delivered by one of the two ways, and may be edited or deleted."""

    name: str
    texts: list[str]
    chance: random.Random
    count: int = 0
    recent: list[dict[str, Any]] = field(default_factory=list)

    def records(self, count: int, now: datetime) -> tuple[list[dict[str, Any]], list[str]]:
        """Return `count` new posts with edits, deletions and copies, and broken records."""
        chance = self.chance
        found = []
        for _ in range(count):
            self.count += 1
            age = timedelta(seconds=chance.random() * SECONDS_PER_FILE)
            if chance.random() < LATE_SHARE:
                age += timedelta(days=chance.randint(1, LATE_DAYS))
            found.append(
                {
                    "id": f"{self.count}",
                    "at": (now - age).isoformat(),
                    "edited": None,
                    "text": f"{chance.choice(self.texts)} ({self.count})",
                    "user": f"user{chance.randrange(50_000)}",
                    "deleted": False,
                }
            )
        changed = self._changed(count, now)
        copies = chance.sample(found, int(count * COPIED_SHARE))
        self.recent = [p for p in (*self.recent, *found, *changed) if not p["deleted"]]
        self.recent = self.recent[-RECENT_POSTS:]
        broken = [
            json.dumps({"id": f"broken {self.count}-{number}", "at": "no date", "text": "What?"})
            for number in range(round(count * BROKEN_SHARE))
        ]
        return [*found, *changed, *copies], broken

    def _changed(self, count: int, now: datetime) -> list[dict[str, Any]]:
        edits, deletions = int(count * EDITED_SHARE), round(count * DELETED_SHARE)
        if len(self.recent) < edits + deletions:
            return []
        places = set(self.chance.sample(range(len(self.recent)), edits + deletions))
        taken = [self.recent[place] for place in places]
        self.recent = [post for place, post in enumerate(self.recent) if place not in places]
        return [
            {
                **post,
                "edited": now.isoformat(),
                "text": post["text"] if number < deletions else f"Edited: {post['text']}",
                "deleted": number < deletions,
            }
            for number, post in enumerate(taken)
        ]


class _Listing:
    """The records of the listing in the order in which they changed, answered page by page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed_at: list[str] = []
        self._items: list[Any] = []
        self._place: dict[str, int] = {}
        self.is_away = False

    def add(self, items: list[Any], now: str) -> None:
        with self._lock:
            for item in items:
                if (earlier := self._place.get(item["id"])) is not None:
                    self._items[earlier] = None  # an API lists a record where it changed last
                self._place[item["id"]] = len(self._items)
                self._items.append(item)
                self._changed_at.append(now)

    def page(self, since: str, after: str | None) -> dict[str, Any]:
        with self._lock:
            moment = datetime.fromisoformat(since).isoformat(timespec="microseconds")
            start = int(after) if after else bisect_left(self._changed_at, moment)
            items = [item for item in self._items[start : start + PAGE_RECORDS] if item]
            end = start + PAGE_RECORDS
            return {"items": items, "next": str(end) if end < len(self._items) else None}

    def serve(self) -> ThreadingHTTPServer:
        listing = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = {n: v[-1] for n, v in parse_qs(urlsplit(self.path).query).items()}
                page = {} if listing.is_away else listing.page(query["since"], query.get("after"))
                content = json.dumps(page).encode()
                self.send_response(503 if listing.is_away else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        return server


def deliver(folder: Path, port: c_int, rate: c_double) -> NoReturn:
    """Deliver below `folder`, and answer for the listing, until the process is ended.

    Writes truth.csv: one row for each state that a post was delivered in, in order.

    Args:
        port: set to that of the listing.
        rate: new posts per second, which may change; 0: nothing is delivered, and nothing is away.
    """
    texts = generate_posts(TEXTS, datetime.now(UTC).date())["text"].to_pylist()
    incoming, away = folder / "incoming", folder / "away"
    incoming.mkdir()
    chances = [random.Random(seed) for seed in (1, 2)]  # noqa: S311 (no secret)
    ways = [_Posts(FILES, texts, chances[0]), _Posts(LISTING, texts, chances[1])]
    listing = _Listing()
    port.value = listing.serve().server_address[1]
    begun, number, beat = time.monotonic(), 0, 0
    with (folder / "truth.csv").open("w", newline="") as stream:
        truth = csv.writer(stream)
        truth.writerow(TRUTH_COLUMNS)
        (folder / "broken").write_text("0")
        broken_count = 0
        while True:
            time.sleep(max(0.0, begun + beat * SECONDS_PER_FILE - time.monotonic()))
            beat += 1
            count = round(rate.value * SECONDS_PER_FILE)
            _be_away(time.monotonic() - begun if count else 0.0, incoming, away, listing)
            if not count:
                continue
            place = away if away.exists() else incoming
            for posts in ways:
                share = LISTED_SHARE if posts.name == LISTING else 1 - LISTED_SHARE
                now = datetime.now(UTC)
                records, broken = posts.records(round(count * share), now)
                if posts.name == LISTING:
                    broken_records = [json.loads(line) for line in broken]
                    changed_at = now.isoformat(timespec="microseconds")
                    listing.add([*records, *broken_records], changed_at)
                else:
                    _write(place, beat, [*map(json.dumps, records), *broken])
                broken_count += len(broken)
                delivered_at = datetime.now(UTC).isoformat()
                for record in records:
                    number += 1
                    text = md5(record["text"].encode(), usedforsecurity=False).hexdigest()
                    key = f"{posts.name}:{record['id']}"
                    truth.writerow((key, record["deleted"], text, delivered_at, number))
            stream.flush()
            (folder / "broken").write_text(str(broken_count))


def _write(folder: Path, beat: int, lines: list[str]) -> None:
    """Write a file aside and rename it into place; now and then, a copy of it too."""
    names = [f"{beat:06}.ndjson"]
    names += [f"{beat:06}-again.ndjson"] if beat % FILES_PER_COPY == 0 else []
    for name in names:
        part = folder / f"{name}.part"
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(part, folder / name)  # noqa: PTH105 (as a delivery does)


def _be_away(seconds: float, incoming: Path, away: Path, listing: _Listing) -> None:
    """Let the folder be gone, or the listing refuse, for a while now and then, in turns."""
    turn, within = divmod(seconds + AWAY_EVERY_SECONDS / 2, AWAY_EVERY_SECONDS)
    is_away = seconds > AWAY_EVERY_SECONDS / 2 and within < AWAY_SECONDS
    listing.is_away = is_away and turn % 2 == 0
    if is_away and turn % 2 == 1:
        if incoming.exists():
            incoming.rename(away)
    elif away.exists():
        away.rename(incoming)
