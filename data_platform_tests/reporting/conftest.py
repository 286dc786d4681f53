"""A warehouse filled with cleaned, scored posts, for what is made from them."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from data_platform.reporting.marts import refresh_daily_sentiment, refresh_topic_sentiment
from data_platform.schemas import (
    ACTIVE_MODEL,
    CLEANED_FEEDBACK,
    FCT_FEEDBACK,
    SENTIMENT_SCORES,
    Table,
)
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import Transaction, Warehouse

COMPOUNDS = {"negative": -0.6, "neutral": 0.0, "positive": 0.6}
Fill = Callable[..., list[str]]


def complete(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of `table` of a row; required ones that it lacks get a value of their type."""
    blank: dict[str, Any] = {
        "VARCHAR": "",
        "BIGINT": 0,
        "INTEGER": 0,
        "DOUBLE": 0.0,
        "BOOLEAN": False,
        "TIMESTAMPTZ": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return {
        c.name: row.get(c.name, blank[c.type] if c.required and c.type in blank else None)
        for c in table.columns
    }


def insert(transaction: Transaction, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row, completed."""
    values = list(complete(table, row).values())
    marks = ", ".join("?" for _ in values)
    transaction.connection.execute(f"INSERT INTO {table.name} VALUES ({marks})", values)


@pytest.fixture
def fill(warehouse: Warehouse) -> Fill:
    """Add posts to the test's warehouse, see `filler`."""
    return filler(warehouse)


def filler(warehouse: Warehouse) -> Fill:
    """Return what adds posts of one day: `count` posts of a feed with a label, a text, further columns."""
    with warehouse.transaction() as transaction:
        insert(transaction, ACTIVE_MODEL, {"model_fingerprint": "m"})
    number = 0

    def add(
        day: date,
        count: int = 1,
        *,
        label: str | None = "neutral",
        feed: str = "shop",
        language: str = "en",
        text: str = "it is as it is {}",
        **columns: Any,
    ) -> list[str]:
        nonlocal number
        ids = []
        with warehouse.transaction() as transaction:
            for _ in range(count):
                number += 1
                feedback_id = f"{feed}:{number:05}"
                ids.append(feedback_id)
                row = {
                    "feedback_id": feedback_id,
                    "feed": feed,
                    "feed_id": feed,
                    "language": language,
                    "posted_at": datetime(day.year, day.month, day.day, tzinfo=UTC)
                    + timedelta(seconds=number),
                    "body_clean": text.format(number),
                    "word_count": len(text.split()),
                    "scored_text_hash": "h",
                    "model_fingerprint": "m",
                    "label": label,
                    "compound": COMPOUNDS.get(label or "", 0.0),
                    "neutral": 1.0 if label == "neutral" else 0.5,
                    **columns,
                }
                insert(transaction, CLEANED_FEEDBACK, row)
                insert(transaction, FCT_FEEDBACK, row)
                if label:
                    insert(transaction, SENTIMENT_SCORES, row)
            days = DaySpan.of(day)
            for table in (CLEANED_FEEDBACK, FCT_FEEDBACK, SENTIMENT_SCORES):
                transaction.seal_days(table, days, {}, {})
            refresh_daily_sentiment(transaction, days)
        with warehouse.transaction() as transaction:
            refresh_topic_sentiment(transaction, DaySpan.of(day))
        return ids

    return add
