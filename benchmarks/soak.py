"""Lets a platform run under a sustained rate of posts, and says whether it keeps up, grows, loses or doubles anything.

    python -m benchmarks.soak [--minutes 60] [--rate 200] [--find-rate] [--folder DIR]

Four fifths of the posts come in files, one every five seconds; the others by a listing that pages.
Some are late, edited, deleted, copied or broken, and every five minutes the folder or the listing
is away for a while. One process collects and refreshes in cycles, as `data-platform run` does, and
publishes once a minute. At the end everything that was delivered is compared with the tables.

With --find-rate, the rate is doubled every two minutes until the lag grows.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_double, c_int
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.posts import opened
from benchmarks.results import save, show
from benchmarks.stream import FILES, LATE_DAYS, LISTING, SECONDS_PER_FILE, deliver, feeds
from data_platform.automation.refresh import Refresher, RefreshOutcome
from data_platform.automation.staleness import Staleness
from data_platform.automation.watch import tell_the_end
from data_platform.definitions import build_definitions, cleaning_of, scoring_of, watch_of
from data_platform.ingestion.feeds import Feeds
from data_platform.settings import Environment, Settings, load_settings
from data_platform.storage.warehouse import Warehouse

PUBLISH_SECONDS = 60.0
SHORTEST_CYCLE_SECONDS = 5.0
STEP_MINUTES = 2.0
MOST_STEPS = 8
MEGABYTE = 1024 * 1024
AWAY = ("503", "does not exist", "went away while it was read", "No such file")
# Seconds from a delivery to the score of its post; of what has no score yet, to now.
LAGS = """
    SELECT epoch(coalesce(s.scored_at, now()) - d.delivered_at) AS lag,
        epoch(d.delivered_at) - ? AS since
    FROM (SELECT feedback_id, min(delivered_at) AS delivered_at FROM truth
        GROUP BY feedback_id HAVING NOT bool_or(is_deleted)) d
    LEFT JOIN (SELECT feedback_id, min(scored_at) AS scored_at FROM sentiment_scores
        GROUP BY feedback_id) s USING (feedback_id)
    WHERE since BETWEEN 0 AND ?
"""
WRONG = {
    "lost, or another text": """
        SELECT count(*) FROM latest l LEFT JOIN (FROM raw_feedback WHERE is_current) r
        USING (feedback_id) WHERE NOT l.is_deleted AND (r.feedback_id IS NULL OR r.is_deleted
        OR md5(r.body) <> l.text_md5)""",
    "twice": """
        SELECT count(*) - count(DISTINCT feedback_id) FROM fct_feedback""",
    "never delivered": """
        SELECT count(*) FROM raw_feedback ANTI JOIN latest USING (feedback_id)""",
    "deleted and still there": """
        SELECT count(*) FROM fct_feedback JOIN latest USING (feedback_id) WHERE is_deleted""",
    "without one score": """
        SELECT count(*) FROM (SELECT c.feedback_id FROM cleaned_feedback c
        LEFT JOIN current_sentiment s USING (feedback_id)
        GROUP BY c.feedback_id HAVING count(s.feedback_id) <> 1)""",
    "not in the sums": """
        SELECT abs((SELECT count(*) FROM fct_feedback)
        - (SELECT coalesce(sum(post_count), 0) FROM daily_sentiment))""",
}


def main() -> None:
    """Run, print the tables, and end with exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long; default: 60")
    parser.add_argument("--rate", type=float, default=200.0, help="posts per second; default: 200")
    parser.add_argument("--find-rate", action="store_true", help="double the rate in steps")
    parser.add_argument("--folder", type=Path, help="work below it; default: a temporary folder")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="soak-", dir=arguments.folder) as folder,
        Soak.begun(Path(folder), arguments.rate) as soak,
    ):
        if arguments.find_rate:
            soak.find_rate()
        else:
            soak.run(arguments.minutes * 60)
            soak.show_course()
        soak.finish()


@dataclass
class Soak:
    """A platform under load.

    Attributes:
        home: where the platform keeps everything.
        truth: what was delivered, see `benchmarks.stream`.
        cycles: one measurement for each cycle.
    """

    folder: Path
    settings: Settings
    refresher: Refresher
    rate: c_double
    cycles: list[dict[str, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    begun_at: float = field(default_factory=time.time)
    _published: float = 0.0

    def __post_init__(self) -> None:
        self.home = self.settings.home
        self.truth = self.folder / "truth.csv"
        self.warehouse = Warehouse(self.settings.warehouse_path)
        self._feeds = Feeds(self.settings)
        self._staleness = Staleness(
            self._feeds, cleaning_of(self.settings), scoring_of(self.settings)
        )
        self._watch = watch_of(self.settings, build_definitions(self.settings))
        self._process = psutil.Process()

    @staticmethod
    @contextmanager
    def begun(folder: Path, rate: float) -> "Iterator[Soak]":
        """Start the source, and open a platform that collects it."""
        context = get_context("spawn")
        port, shared_rate = context.RawValue(c_int, 0), context.RawValue(c_double, rate)
        source = context.Process(target=deliver, args=(folder, port, shared_rate), daemon=True)
        source.start()
        try:
            while not port.value:
                if not source.is_alive():
                    message = "The source did not start."
                    raise SystemExit(message)
                time.sleep(0.1)
            settings = settings_of(folder, port.value)
            with opened(settings) as refresher:
                yield Soak(folder, settings, refresher, shared_rate)
        finally:
            source.terminate()
            source.join()

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.cycle()

    def cycle(self) -> None:
        """Do what `data-platform run` does; publish if a minute has passed."""
        outcome, begun = RefreshOutcome(), time.monotonic()
        refresher = self.refresher
        refresher.complete_history(self.warehouse)
        refresher.collect([[FILES], [LISTING]], [], outcome)
        collected = time.monotonic()
        refresher.refresh(self._staleness.stale_days(self.warehouse), outcome)
        refresher.refresh_moved(self._staleness, self.warehouse, [], outcome)
        refreshed = time.monotonic()
        if refreshed - self._published >= PUBLISH_SECONDS:
            refresher.publish(outcome)
            tell_the_end(self._watch, refresher.instance)
            self._published = time.monotonic()
        self.failures += outcome.failures
        ended = time.monotonic()
        self.cycles.append(
            {
                "minutes": (time.time() - self.begun_at) / 60,
                "collect": collected - begun,
                "refresh": refreshed - collected,
                "publish": ended - refreshed,
                "rss_mb": self._process.memory_info().rss / MEGABYTE,
                "threads": self._process.num_threads(),
                "files": self._process.num_fds(),
            }
        )
        print(
            " ".join(f"{name} {value:.1f}" for name, value in self.cycles[-1].items()),
            file=sys.stderr,
        )
        time.sleep(max(0.0, SHORTEST_CYCLE_SECONDS - (ended - begun)))

    def lags(self, begin: float, end: float) -> list[tuple[float, float]]:
        """Return the lag of each post delivered in a stretch of time, in order of delivery.

        Args:
            begin, end: seconds since the epoch.

        Returns:
            Pairs of seconds since `begin`, and of lag.
        """
        with self.warehouse.transaction() as transaction:
            self._read_truth(transaction.connection)
            rows = transaction.connection.execute(
                f"SELECT since, lag FROM ({LAGS}) ORDER BY since", [begin, end - begin]
            ).fetchall()
        return [(float(at), float(lag)) for at, lag in rows]

    def find_rate(self) -> None:
        """Double the rate until the lag grows; print a row for each step."""
        rows: list[tuple[object, ...]] = []
        holding = 0.0
        for _ in range(MOST_STEPS):
            begin = time.time()
            self.run(STEP_MINUTES * 60)
            end = time.time()
            thirds = in_thirds(self.lags(begin, end))
            grows = thirds[2] > 1.5 * thirds[0] + SHORTEST_CYCLE_SECONDS
            rows.append((f"{self.rate.value:,.0f}", *thirds, "yes" if grows else "no"))
            print(f"step: {rows[-1]}", file=sys.stderr)
            if grows:
                break
            holding = self.rate.value
            self.rate.value *= 2
        header = ("posts per second", "first third", "second", "last", "grows")
        show(f"Median lag in steps of {STEP_MINUTES:.0f} minutes, seconds", header, rows)
        save({"soak.rate_found": holding})

    def show_course(self) -> None:
        """Print lag, time and memory over time."""
        pairs = self.lags(self.begun_at, time.time())
        tenth = max((time.time() - self.begun_at) / 10, 1.0)
        rows: list[tuple[object, ...]] = []
        for number in range(10):
            lags = sorted(lag for at, lag in pairs if at // tenth == number)
            cycles = [c for c in self.cycles if c["minutes"] * 60 // tenth == number]
            if lags and cycles:
                seconds = [statistics.median(c[n] for c in cycles) for n in ("collect", "refresh")]
                publish = max(c["publish"] for c in cycles)
                rss, threads, files = (cycles[-1][n] for n in ("rss_mb", "threads", "files"))
                rows.append(
                    (
                        f"{tenth * (number + 1) / 60:.1f}",
                        len(lags),
                        quantile(lags, 0.5),
                        quantile(lags, 0.95),
                        *seconds,
                        publish,
                        rss,
                        int(threads),
                        int(files),
                    )
                )
        header = (
            *("until minute", "posts", "lag, median", "lag, p95", "collect", "refresh"),
            *("publish, longest", "RSS MB", "threads", "open files"),
        )
        show(f"Soak at {self.rate.value:,.0f} posts per second, seconds", header, rows)
        every = sorted(lag for _, lag in pairs)
        thirds = in_thirds(pairs)
        save(
            {
                "soak.rate": self.rate.value,
                "soak.minutes": (time.time() - self.begun_at) / 60,
                "soak.lag_median": quantile(every, 0.5),
                "soak.lag_p95": quantile(every, 0.95),
                "soak.lag_last_third_to_first": thirds[2] / thirds[0],
                "soak.rss_mb_per_hour": self.rss_slope(),
                "soak.rss_peak_mb": max(c["rss_mb"] for c in self.cycles),
            }
        )

    def rss_slope(self) -> float:
        """Return by how many MB an hour the memory grows, after the first third."""
        late = self.cycles[len(self.cycles) // 3 :]
        if len(late) < 2:
            return 0.0
        minutes, rss = ([cycle[name] for cycle in late] for name in ("minutes", "rss_mb"))
        return statistics.linear_regression(minutes, rss).slope * 60

    def finish(self) -> None:
        """Stop the source, take in what is left, and compare with what was delivered.

        Raises:
            SystemExit: something is lost, doubled or left over, or a failure was not planned.
        """
        self.rate.value = 0.0
        time.sleep(2 * SECONDS_PER_FILE)  # the source writes what it has begun
        begun = time.monotonic()
        self._published = 0.0
        for _ in range(3):  # the last posts, what was away, and a cycle that finds nothing
            self.cycle()
        drained = time.monotonic() - begun
        posts, wrong = self.compare()
        self.show_sizes(posts, drained)
        show("Compared with what was delivered", ("posts", *wrong), [(posts, *wrong.values())])
        unplanned = [f for f in self.failures if not any(words in f for words in AWAY)]
        print(
            f"\n{len(self.failures)} failures of sources that were away; {len(unplanned)} others."
        )
        if any(wrong.values()) or unplanned:
            raise SystemExit("\n".join(["Something is wrong, see above.", *unplanned[:5]]))

    def compare(self) -> tuple[int, dict[str, int]]:
        """Return how many posts were delivered, and how many of them the tables are wrong about."""
        refused = int((self.folder / "broken").read_text())
        with self.warehouse.transaction() as transaction:
            self._read_truth(transaction.connection)
            transaction.connection.execute(
                "CREATE TEMP TABLE latest AS FROM truth QUALIFY row_number() OVER"
                " (PARTITION BY feedback_id ORDER BY number DESC) = 1"
            )
            posts = transaction.count("SELECT count(*) FROM latest")
            wrong = {name: transaction.count(sql) for name, sql in WRONG.items()}
            held = transaction.count("SELECT count(*) FROM quarantined_feedback")
        return posts, {**wrong, "broken and not held": refused - held}

    def show_sizes(self, posts: int, drained: float) -> None:
        """Print what the platform keeps, and what it would keep of a million posts."""
        landing = self.settings.landing_path
        places = {
            "warehouse": self.settings.warehouse_path,
            "snapshot": self.settings.snapshot_path,
            "ledger": landing / "ledger.sqlite",
            "landing segments": landing,
            "Dagster's storage": self.settings.dagster_home,
        }
        rows: list[tuple[object, ...]] = []
        for name, place in places.items():
            size = size_of(place)
            size -= size_of(landing / "ledger.sqlite") if place == landing else 0
            rows.append((name, size / MEGABYTE, size / MEGABYTE / posts * 1e6))
        show("Kept", ("what", "MB", "MB per million posts"), rows)
        segments = sum(1 for _ in landing.rglob("*.parquet"))
        runs = self.refresher.instance.get_runs_count()
        a_run = size_of(self.settings.dagster_home) / MEGABYTE / runs
        print(
            f"\n{posts:,} posts, {segments:,} segments, {len(self.cycles)} cycles, {runs:,} runs of"
            f" Dagster, which keeps {a_run:.2f} MB of each; memory grows by"
            f" {self.rss_slope():+.0f} MB an hour, at most"
            f" {max(c['rss_mb'] for c in self.cycles):.0f} MB; the rest was taken in after"
            f" {drained:.0f} s."
        )

    def _read_truth(self, connection: Any) -> None:
        place = str(self.truth).replace("'", "''")
        connection.execute(
            "CREATE TEMP TABLE truth AS SELECT feedback_id, is_deleted::BOOLEAN AS is_deleted,"
            " text_md5, delivered_at::TIMESTAMPTZ AS delivered_at, number::BIGINT AS number"
            f" FROM read_csv('{place}', all_varchar = true, ignore_errors = true)"
        )


def settings_of(folder: Path, port: int) -> Settings:
    """Configure a platform in `folder` that collects what the source delivers."""
    start = (datetime.now(UTC) - timedelta(days=LATE_DAYS + 2)).date()
    config: Mapping[str, Any] = {"start_date": start, "feeds": feeds(port)}
    path = folder / "feedback.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return load_settings(Environment(data_platform_home=folder / "data", data_platform_config=path))


def in_thirds(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """Return the median lag of each third of the posts, in order of delivery."""
    size = max(len(pairs) // 3, 1)
    return [
        statistics.median([lag for _, lag in pairs[n * size :][:size]] or [0]) for n in range(3)
    ]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed; 0 for none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def size_of(place: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
