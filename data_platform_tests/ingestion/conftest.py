"""Helpers of the ingestion tests: feeds, posts and deliveries that need no file."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pytest

from data_platform.feed_settings import FileFeed
from data_platform.ingestion.contract import POST_SCHEMA
from data_platform.storage.landing import FOLDER_COLUMN, LandingZone, Segment

FIELDS = {"source_id": "id", "posted_at": "at", "body": "text"}
FIRST_DAY = date(2024, 3, 1)
COLLECTED_AT = datetime(2024, 4, 1, tzinfo=UTC)


def file_feed(**changes: Any) -> FileFeed:
    """Return a file feed that maps the columns id, at and text."""
    told = {"kind": "file", "name": "shop", "path": "incoming", "fields": FIELDS, "settle": "0s"}
    return FileFeed.model_validate({**told, **changes})


def instant(day: int, hour: int = 12) -> datetime:
    """Return an hour of the day that lies `day` days after FIRST_DAY."""
    return datetime.combine(FIRST_DAY, time(), UTC) + timedelta(days=day, hours=hour)


def post(number: int = 1, day: int = 0, **changes: Any) -> dict[str, Any]:
    """Return one good post, as the contract hands it on; a deleted one is empty."""
    text, is_deleted = changes.get("body", "a fine shop"), changes.get("is_deleted", False)
    meaning = f"{None if is_deleted else text}|{changes.get('title')}|{is_deleted}"
    stated: dict[str, Any] = {
        **dict.fromkeys(POST_SCHEMA.names),
        "feedback_id": f"shop:{number}",
        "feed": "shop",
        "source": "shop",
        "source_id": str(number),
        "content_hash": sha256(meaning.encode()).hexdigest(),
        "body": text,
        "author_id": "a" * 32,
        "posted_at": instant(day),
        "observed_at": instant(10),
        "is_deleted": False,
    }
    stated.update(changes)
    if is_deleted:
        stated |= {"body": None, "author_id": None, "label": None, "source_metadata": None}
    return stated


def land(
    landing: LandingZone,
    posts: Iterable[Mapping[str, Any]],
    *,
    feed: str = "shop",
    delivery_id: str = "delivery",
    collected_at: datetime = COLLECTED_AT,
) -> list[Segment]:
    """Land `posts` as one delivery, each in the folder of its day of posting."""
    rows = list(posts)
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=POST_SCHEMA)
    days = pa.array([row["posted_at"].date().isoformat() for row in rows], pa.string())
    with landing.delivery(feed, delivery_id) as writer:
        if rows:
            writer.write(iter(table.append_column(FOLDER_COLUMN, days).to_batches()), POST_SCHEMA)
        return writer.publish(collected_at)


@pytest.fixture
def landing(home: Any) -> LandingZone:
    """An empty landing zone."""
    return LandingZone(home / "landing")
