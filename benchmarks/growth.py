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
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from benchmarks.posts import opened, settings_of, write_posts
from benchmarks.results import save, show
from data_platform.automation.refresh import RefreshOutcome
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


class Platform:
    """A platform of its own in `home`, open for refreshing."""

    def __init__(self, home: Path, first_day: date, refreshers: ExitStack) -> None:
        home.mkdir()
        settings = settings_of(home, first_day, "en")
        self.home = home
        self.post_count = 0
        self.warehouse = Warehouse(settings.warehouse_path)
        self.staleness = Staleness(Feeds(settings), cleaning_of(settings), scoring_of(settings))
        self.refresher = refreshers.enter_context(opened(settings))

    def grow(self, size: int) -> float:
        """Load posts of earlier days until there are `size`; return the seconds of loading."""
        added = size - self.post_count
        last = LAST_DAY - timedelta(days=self.post_count // POSTS_PER_DAY)
        write_posts(self.home / f"{size}.ndjson", added, last, added // POSTS_PER_DAY)
        self.post_count = size
        return self.refresh()[0]

    def refresh_new_posts(self, label: str) -> tuple[float, float, float]:
        """Deliver 100 new posts of the last day; return seconds, those of noticing, CPU-seconds."""
        write_new_posts(self.home / f"new-{label}.ndjson", label)
        return self.refresh()

    def refresh(self) -> tuple[float, float, float]:
        """Do what `data-platform run` does before it publishes."""
        outcome = RefreshOutcome()
        days: list[date] = []
        cpu = time.process_time()
        seconds = [
            clock(lambda: self.refresher.complete_history(self.warehouse)),
            clock(lambda: self.refresher.collect([["posts"]], [], outcome)),
            clock(lambda: days.extend(self.staleness.stale_days(self.warehouse))),
            clock(lambda: self.refresher.refresh(days, outcome)),
            clock(
                lambda: self.refresher.refresh_moved(self.staleness, self.warehouse, [], outcome)
            ),
        ]
        if outcome.failures:
            raise SystemExit("\n".join(outcome.failures))
        return sum(seconds), seconds[0] + seconds[2] + seconds[4], time.process_time() - cpu

    def publish(self) -> float:
        return clock(lambda: self.refresher.publish(RefreshOutcome()))


def measure(folder: Path, sizes: Sequence[int], runs: int) -> None:
    """Print the table, and keep the ratio of the last size to the first.

    Each size is measured in turns with a warehouse of the first size, so that a machine that
    changes its speed meanwhile changes no ratio.
    """
    first_day = LAST_DAY - timedelta(days=sizes[-1] // POSTS_PER_DAY - 1)
    rows: list[tuple[object, ...]] = []
    ratios: list[tuple[float, float]] = []
    with ExitStack() as refreshers:
        small = Platform(folder / "small", first_day, refreshers)
        small.grow(sizes[0])
        large = Platform(folder / "large", first_day, refreshers)
        for size in sizes:
            loading = large.grow(size)
            os.sync()  # what the loading left to be written is not the refresh's to wait for
            turns = [
                (small.refresh_new_posts(f"{size}-{n}"), large.refresh_new_posts(f"{size}-{n}"))
                for n in range(runs)
            ]
            of_small, of_large = (
                [statistics.median(column) for column in zip(*measured, strict=True)]
                for measured in zip(*turns, strict=True)
            )
            ratios.append((of_large[0] / of_small[0], of_large[2] / of_small[2]))
            print(
                f"{size:,} posts: {of_large[0]:.1f} s, {ratios[-1][0]:.2f} times", file=sys.stderr
            )
            publishing = large.publish()
            large.refresh_new_posts(f"{size}-last")
            again = large.publish()
            rows.append((f"{size:,}", loading, *of_large, *ratios[-1], publishing, again))
    header = (
        *("posts", "load the difference", "100 new posts", "of it noticing", "CPU-seconds"),
        *("x smallest", "x smallest, CPU", "publish", "publish 100 new posts"),
    )
    show(f"Growth: {NEW_POSTS} new posts of one day, seconds, median of {runs}", header, rows)
    save({"growth.ratio_5m_10k": ratios[-1][0], "growth.ratio_5m_10k_cpu": ratios[-1][1]})


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
