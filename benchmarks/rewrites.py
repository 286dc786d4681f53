"""Measures how far files grow when every post is rewritten again and again, and what maintenance gives back.

    python -m benchmarks.rewrites [--posts 20000] [--rewrites 50]

The files are read under another mapping each time, which says another language of every post: segments,
ledger and every table that is made of them are written anew, and mean as much as before.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from benchmarks.posts import opened, settings_of, write_posts
from benchmarks.results import save, show
from data_platform.automation.erasing import Eraser
from data_platform.automation.maintenance import maintain
from data_platform.automation.refresh import RefreshOutcome
from data_platform.automation.staleness import Staleness
from data_platform.definitions import cleaning_of, scoring_of
from data_platform.ingestion.feeds import Feeds
from data_platform.settings import Settings
from data_platform.storage.warehouse import Warehouse

LAST_DAY = date(2026, 6, 30)
LANGUAGES = ("en", "es")
SHOWN_AFTER = (0, 1, 2, 10, 25, 50)
PLACES = ("warehouse.duckdb", "published", "landing", "dagster")


def main() -> None:
    """Rewrite, and print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--rewrites", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rewrites-") as folder:
        measure(Path(folder), arguments.posts, arguments.rewrites)


def measure(home: Path, posts: int, rewrites: int) -> None:
    """Print the size of each place after so many rewrites, in megabytes, and keep the growth."""
    write_posts(home / "posts.ndjson", posts, LAST_DAY, days=2)
    rows: list[tuple[object, ...]] = []
    for number in range(rewrites + 1):
        settings = settings_of(home, date(2026, 6, 1), LANGUAGES[number % 2])
        refresh(settings)
        print(f"{number} of {rewrites}", file=sys.stderr)
        if number in (*SHOWN_AFTER, rewrites):
            rows.append((number, *sizes(settings.home)))
    keep_in_order(settings)
    rows.append(("maintained", *sizes(settings.home)))
    show(f"{posts:,} posts rewritten, MB", ("rewrites", *PLACES), rows)
    first, last = rows[0][1], rows[-2][1]
    assert isinstance(first, float)
    assert isinstance(last, float)
    save({"rewrites.warehouse_growth": last / first})


def refresh(settings: Settings) -> None:
    """Do what `data-platform run` does."""
    feeds, warehouse = Feeds(settings), Warehouse(settings.warehouse_path)
    staleness = Staleness(feeds, cleaning_of(settings), scoring_of(settings))
    outcome = RefreshOutcome()
    with opened(settings) as refresher:
        refresher.complete_history(warehouse)
        refresher.collect([["posts"]], [], outcome)
        refresher.refresh(staleness.stale_days(warehouse), outcome)
        refresher.refresh_moved(staleness, warehouse, [], outcome)
        refresher.publish(outcome)
    if outcome.failures:
        raise SystemExit("\n".join(outcome.failures))


def keep_in_order(settings: Settings) -> None:
    """Do what `data-platform maintain` does, however small the warehouse is."""
    with ExitStack() as stack:
        refresher = stack.enter_context(opened(settings))
        warehouse = Warehouse(settings.warehouse_path)
        feeds = Feeds(settings)
        eraser = Eraser(feeds, warehouse, settings.snapshot_path, lambda: None)
        staleness = Staleness(feeds, cleaning_of(settings), scoring_of(settings))
        maintain(eraser, warehouse, refresher.instance, staleness, lambda _: None)


def sizes(home: Path) -> list[float]:
    """Return the megabytes of each place in a data home."""
    return [
        sum(p.stat().st_size for p in [home / name, *(home / name).rglob("*")] if p.is_file()) / 1e6
        for name in PLACES
    ]


if __name__ == "__main__":
    main()
