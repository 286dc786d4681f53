"""What the platform holds after collections: loaded from the landing zone into a warehouse, as raw_feedback does."""

from pathlib import Path

from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.raw import load_days
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import Warehouse


def load(feeds: Feeds, home: Path) -> Warehouse:
    """Load every landed day that is open."""
    warehouse = Warehouse(home / "warehouse.duckdb")
    for day in sorted(feeds.landed_days()):
        with warehouse.transaction() as transaction:
            load_days(transaction, feeds.landing, feeds.names, DaySpan.of(day))
    return warehouse


def stored(feeds: Feeds, home: Path) -> dict[str, str]:
    """Return the posts that are current and not deleted: text by id."""
    with load(feeds, home).transaction() as transaction:
        rows = transaction.connection.execute(
            "SELECT source_id, body FROM raw_feedback WHERE is_current AND NOT is_deleted"
        ).fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    return dict(rows)


def gone(feeds: Feeds, home: Path) -> set[str]:
    """Return the ids of posts that are stored as deleted."""
    with load(feeds, home).transaction() as transaction:
        rows = transaction.connection.execute(
            "SELECT source_id FROM raw_feedback WHERE is_deleted"
        ).fetchall()
    return {row[0] for row in rows}


def landed_rows(feeds: Feeds) -> int:
    """Return how many records the landing zone holds, quarantine apart."""
    return sum(
        feeds.landing.row_count(segment)
        for name in feeds.names
        for day in feeds.landing.days(name)
        for segment in feeds.landing.segments([name], day)
    )
