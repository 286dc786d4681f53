"""Times what 100 new posts of one day cost in a warehouse of 10,000 to 5,000,000 posts.

    python -m benchmarks.growth [--sizes 10000 100000 1000000 5000000] [--runs 5]

The warehouse is grown through the assets, 10,000 posts a day; the new posts are of its last day.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from benchmarks.posts import opened, settings_of, write_posts
from benchmarks.results import save, show
from data_platform.automation.refresh import Refresher, RefreshOutcome
from data_platform.automation.staleness import Staleness
from data_platform.definitions import cleaning_of, scoring_of
from data_platform.ingestion.feeds import Feeds
from data_platform.storage.warehouse import Warehouse

LAST_DAY = date(2026, 6, 30)
POSTS_PER_DAY = 10_000
NEW_POSTS = 100


def main() -> None:
    """Grow a warehouse, and measure at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = (10_000, 100_000, 1_000_000, 5_000_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        measure(Path(folder), sorted(arguments.sizes), arguments.runs)


def measure(home: Path, sizes: Sequence[int], runs: int) -> None:
    """Print the table, and keep the ratio of the last size to the first."""
    first_day = LAST_DAY - timedelta(days=sizes[-1] // POSTS_PER_DAY - 1)
    settings = settings_of(home, first_day, "en")
    warehouse = Warehouse(settings.warehouse_path)
    staleness = Staleness(Feeds(settings), cleaning_of(settings), scoring_of(settings))
    rows: list[tuple[object, ...]] = []
    refreshes: list[float] = []
    cpu_seconds: list[float] = []
    with opened(settings) as refresher:
        there = 0
        for size in sizes:
            last = LAST_DAY - timedelta(days=there // POSTS_PER_DAY)
            write_posts(
                home / f"{size}.ndjson", size - there, last, (size - there) // POSTS_PER_DAY
            )
            loading, _, _ = refresh_what_is_new(refresher, staleness, warehouse)
            publishing = clock(lambda: refresher.publish(RefreshOutcome()))
            os.sync()  # what the loading left to be written is not the refresh's to wait for
            found = []
            cpu = time.process_time()
            for run in range(runs):
                write_new_posts(home / f"new-{size}-{run}.ndjson", f"{size}-{run}")
                found.append(refresh_what_is_new(refresher, staleness, warehouse))
            cpu = (time.process_time() - cpu) / runs
            whole, noticing, refresh = (
                statistics.median(column) for column in zip(*found, strict=True)
            )
            again = clock(lambda: refresher.publish(RefreshOutcome()))
            refreshes.append(whole)
            print(f"{size:,} posts: {whole:.1f} s", file=sys.stderr)
            cpu_seconds.append(cpu)
            rows.append((f"{size:,}", loading, publishing, noticing, refresh, whole, cpu, again))
            there = size
    header = (
        *("posts", "load the difference", "publish it"),
        *("notice", "refresh", "both", "CPU-seconds of both", "publish"),
    )
    show(f"Growth: {NEW_POSTS} new posts of one day, seconds, median of {runs}", header, rows)
    save(
        {
            "growth.ratio_5m_10k": refreshes[-1] / refreshes[0],
            "growth.ratio_5m_10k_cpu": cpu_seconds[-1] / cpu_seconds[0],
        }
    )


def refresh_what_is_new(
    refresher: Refresher, staleness: Staleness, warehouse: Warehouse
) -> tuple[float, float, float]:
    """Do what `data-platform run` does before it publishes.

    Returns:
        Seconds in all, to find out what is new, and to collect and refresh it.
    """
    outcome = RefreshOutcome()
    noticing = clock(lambda: refresher.complete_history(warehouse))
    collecting = clock(lambda: refresher.collect(["posts"], [], outcome))
    days: list[date] = []
    noticing += clock(lambda: days.extend(staleness.stale_days(warehouse)))
    refreshing = clock(lambda: refresher.refresh(days, outcome))
    noticing += clock(lambda: refresher.refresh_moved(staleness, warehouse, [], outcome))
    if outcome.failures:
        raise SystemExit("\n".join(outcome.failures))
    return noticing + collecting + refreshing, noticing, collecting + refreshing


def write_new_posts(path: Path, label: str) -> None:
    noon = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, 12, tzinfo=UTC)
    lines = [
        json.dumps(
            {
                "post_id": f"{label}-{number}",
                "created_at": f"{noon + timedelta(seconds=number):%Y-%m-%d %H:%M:%S %z}",
                "author": f"author {number}",
                "text": f"Post {label} {number}: the flight was late, and nobody cared.",
            }
        )
        for number in range(NEW_POSTS)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def clock(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
