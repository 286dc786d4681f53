"""Runs, backfills, publishing, maintenance, deliveries and readers, all at the same time on one data home."""

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from data_platform.automation.instance import open_instance
from data_platform.automation.sensors import UNFINISHED
from data_platform.errors import BusyError
from data_platform.storage.locks import NOBODY_KNOWN, ProcessLock
from data_platform_tests.pipeline.conftest import SHOP, Platform
from data_platform_tests.pipeline.kills import SERVER

PROJECT = Path(__file__).resolve().parents[2]
WORDS = ("love", "hate", "like", "fear", "enjoy", "avoid")
DAYS, POSTS = 6, 60
EARLY = ("backfill", "--from", "2026-03-01", "--to", "2026-03-04")
LATE = ("backfill", "--from", "2026-03-03", "--to", "2026-03-06")
ALL_DAYS = ("--from", "2026-03-01", "--to", "2026-03-06")
READERS, LOOK_EVERY_SECONDS = 4, 0.3
# Of one commit: the rows of each table and day are as many as it says, and the stages agree.
NOT_WHOLE = """
WITH there AS (
    SELECT 'cleaned_feedback' AS table_name, posted_at::DATE AS day FROM cleaned_feedback
    UNION ALL SELECT 'fct_feedback', posted_at::DATE FROM fct_feedback
    UNION ALL SELECT 'sentiment_scores', posted_at::DATE FROM sentiment_scores
    UNION ALL SELECT 'daily_sentiment', date FROM daily_sentiment
), told AS (
    SELECT table_name, day, row_count FROM day_versions
    WHERE table_name IN (SELECT table_name FROM there)
), facts AS (
    SELECT posted_at::DATE AS day, count(*) AS posts FROM fct_feedback GROUP BY day
), scores AS (
    SELECT posted_at::DATE AS day, count(*) AS scored, count(*) FILTER (label = 'negative') AS bad
    FROM current_sentiment GROUP BY day
), sums AS (
    SELECT date AS day, sum(post_count) AS posts, sum(scored_count) AS scored,
        sum(negative_count) AS bad
    FROM daily_sentiment GROUP BY day
)
SELECT table_name, day::VARCHAR, coalesce(row_count, 0), coalesce(rows, 0)
FROM told FULL JOIN (SELECT table_name, day, count(*) AS rows FROM there GROUP BY ALL)
    USING (table_name, day)
WHERE coalesce(row_count, 0) <> coalesce(rows, 0)
UNION ALL
SELECT 'facts and scores against sums', day::VARCHAR,
    coalesce(facts.posts, 0) * 1000000 + coalesce(scores.scored, 0) * 1000 + coalesce(scores.bad, 0),
    coalesce(sums.posts, 0) * 1000000 + coalesce(sums.scored, 0) * 1000 + coalesce(sums.bad, 0)
FROM facts FULL JOIN scores USING (day) FULL JOIN sums USING (day)
WHERE (facts.posts, scores.scored, scores.bad) IS DISTINCT FROM (sums.posts, sums.scored, sums.bad)
"""


def deliver(platform: Platform, number: int) -> None:
    """Put a whole file there by rename: new posts, edits, deletions, copies and a broken record."""
    rows = [
        {
            "id": str(post),
            "at": f"2026-03-{1 + post % DAYS:02d}T{post % 24:02d}:00:00Z",
            "text": f"I {WORDS[(post + number) % 6]} parcel number {post} of this shop",
            "user": f"user{post % 37}",
            "deleted": "true" if number % 3 == 2 and post % 13 == 0 else "",
        }
        for post in range(number * POSTS // 2, number * POSTS // 2 + POSTS)
    ]
    rows.append({"id": f"broken{number}", "at": "no date", "text": "I came to nothing"})
    platform.deliver(f"{number}.part", rows, day=1 + number % 28)
    part = platform.folder / "incoming" / f"{number}.part"
    part.rename(part.with_suffix(".csv"))


@dataclass
class Crowd:
    """Everything that works on one platform at the same time, and what became of it.

    Attributes:
        platform: the home that all share.
        calls: each call with its exit code and all that it printed.
        looks: how often each reader looked.
        not_whole: what readers saw that was no whole commit.
        waits: seconds that commands waited for locks.
    """

    platform: Platform
    calls: list[tuple[tuple[str, ...], int | None, str]] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    not_whole: list[object] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def _folder(self) -> Path:
        return self.platform.folder

    def call(self, *arguments: str) -> None:
        """Call `data-platform` in a process of its own."""
        name = f"call-{next(self._numbers)}"
        told, waits = (self._folder / f"{name}.{kind}" for kind in ("log", "waits"))
        process = SERVER.Process(
            target=_command, args=(self.platform.environment, self._folder, arguments, told, waits)
        )
        process.start()
        process.join(240)
        if process.exitcode is None:
            process.kill()
        self.calls.append((arguments, process.exitcode, told.read_text(encoding="utf-8")))
        self.waits += [float(line) for line in waits.read_text().split()]

    def work(self, *workers: Callable[[], None]) -> None:
        """Let all workers work at the same time, with readers beside them, until all are done."""
        stop = self._folder / "stop"
        readers = [self._reader(stop, number) for number in range(READERS)]
        threads = [threading.Thread(target=worker) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.touch()
        for number, reader in enumerate(readers):
            reader.join(60)
            assert reader.exitcode == 0, (self._folder / f"reader-{number}.log").read_text()
            looks, found = json.loads((self._folder / f"reader-{number}").read_text())
            self.looks.append(looks)
            self.not_whole += found

    def _reader(self, stop: Path, number: int) -> BaseProcess:
        told = self._folder / f"reader-{number}"
        snapshot = self.platform.home / "published" / "feedback.duckdb"
        reader = SERVER.Process(target=_read, args=(snapshot, stop, told))
        reader.start()
        return reader

    def failed_runs(self) -> list[str]:
        """Return the runs in Dagster's history that did not end well."""
        with open_instance(self.platform.home / "dagster", captures_output=False) as instance:
            return [
                f"{run.job_name} {run.status.value} {dict(run.tags)}"
                for run in instance.get_runs()
                if run.status is not dg.DagsterRunStatus.SUCCESS
            ]

    def held_locks(self) -> list[str]:
        """Return the locks below the home that somebody still holds, or is said to hold."""
        return [path.name for path in self.platform.home.rglob("*.lock") if not _is_free(path)]

    def report(self) -> str:
        """Say what happened, for people."""
        waits = sorted(self.waits)
        long = sum(wait > 0.1 for wait in waits)
        return (
            f"{len(self.calls)} calls, {sum(self.looks)} looks of readers; {len(waits)} locks taken,"
            f" {long} waited for longer than 0.1 s: median of these"
            f" {statistics.median([w for w in waits if w > 0.1] or [0]):.2f} s, longest {waits[-1]:.2f} s"
        )


def _is_free(path: Path) -> bool:
    lock = ProcessLock(path, path.name)
    if lock.holder() != NOBODY_KNOWN:
        return False
    with suppress(BusyError), lock.held(0.0):
        return True
    return False


def _write_to(path: Path) -> None:
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)


def _command(
    environment: dict[str, str], folder: Path, arguments: Sequence[str], told: Path, waits: Path
) -> None:
    """Be `data-platform`, and note how long each lock was waited for."""
    _write_to(told)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    held = ProcessLock.held

    with waits.open("w") as stream:

        @contextmanager
        def timed(self, timeout_seconds):
            started = time.monotonic()
            with held(self, timeout_seconds):
                stream.write(f"{time.monotonic() - started:.4f}\n")
                yield

        ProcessLock.held = timed
        from data_platform.cli import main

        main(list(arguments))


def _read(snapshot: Path, stop: Path, told: Path) -> None:
    """Look at the published file again and again; each look opens what is there at that moment."""
    _write_to(told.with_suffix(".log"))
    looks, found = 0, []
    while not stop.exists():
        with duckdb.connect(str(snapshot), read_only=True) as connection:
            connection.execute("SET threads = 1")
            connection.execute("SET TimeZone = 'UTC'")
            found += connection.execute(NOT_WHOLE).fetchall()
        looks += 1
        time.sleep(LOOK_EVERY_SECONDS)
    told.write_text(json.dumps([looks, found]), encoding="utf-8")


def assert_nothing_happened(crowd: Crowd, quiet: Platform) -> None:
    """Compare with a platform that had the same files in peace."""
    print(crowd.report())  # noqa: T201
    for arguments, code, printed in crowd.calls:
        assert code == 0, f"{arguments}: {code}\n{printed}"
        assert "Traceback" not in printed, f"{arguments}\n{printed}"
        assert "lock" not in printed.lower(), f"{arguments}\n{printed}"
    assert crowd.failed_runs() == []
    assert crowd.platform.run()["failures"] == []
    assert crowd.platform.digest() == quiet.digest()
    daily = "SELECT * FROM daily_sentiment ORDER BY ALL"
    assert crowd.platform.published(daily) == quiet.published(daily)
    assert min(crowd.looks) > 10
    assert crowd.not_whole == []
    assert crowd.held_locks() == []


def prepare(platform_in: Callable[..., Platform], files: int) -> tuple[Crowd, Platform]:
    """Return a platform that knows a first file, and a quiet one that has had all of them."""
    quiet = platform_in("quiet", SHOP)
    for number in range(files):
        deliver(quiet, number)
    crowd = Crowd(platform_in("busy", SHOP))
    deliver(crowd.platform, 0)
    firsts = [threading.Thread(target=c.call, args=("run",)) for c in (Crowd(quiet), crowd)]
    for first in firsts:
        first.start()
    for first in firsts:
        first.join()
    return crowd, quiet


@pytest.mark.timeout(900)
def test_what_works_at_the_same_time_waits_and_readers_see_whole_commits(platform_in):
    crowd, quiet = prepare(platform_in, files := 7)

    def deliveries():
        for number in range(1, files):
            deliver(crowd.platform, number)
            time.sleep(1.0)

    def calls(*commands):
        return lambda: [crowd.call(*command) for command in commands]

    crowd.work(
        deliveries,
        calls(("run",)),
        calls(EARLY),
        calls(LATE),
        calls(("publish",), ("maintain",), ("publish",)),
    )
    assert_nothing_happened(crowd, quiet)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_same_for_minutes_beside_the_daemon_with_its_sensors_and_a_backfill(platform_in):
    seconds = float(os.environ.get("MANY_AT_ONCE_SECONDS", "180"))
    crowd, quiet = prepare(platform_in, files := int(seconds / 4))
    ended = time.monotonic() + seconds

    def deliveries():
        for number in range(1, files):
            deliver(crowd.platform, number)
            time.sleep(seconds / files)

    def again(*commands):
        def loop():
            for command in itertools.cycle(commands):
                if time.monotonic() > ended:
                    return
                crowd.call(*command)

        return loop

    with _daemon(crowd.platform) as dagster:
        crowd.work(
            deliveries,
            lambda: dagster("job", "backfill", "-j", "refresh_job", "--noprompt", *ALL_DAYS),
            again(("run",), ("maintain",)),
            again(EARLY, (*LATE, "--newest-first")),
            again(("publish",)),
        )
        _wait_for_runs(crowd.platform)
    assert_nothing_happened(crowd, quiet)


@contextmanager
def _daemon(platform: Platform):
    """Run Dagster's daemon, and yield what calls the command line `dagster` beside it."""
    environment = {**platform.environment, "DAGSTER_HOME": str(platform.home / "dagster")}
    workspace = ("-w", str(PROJECT / "workspace.yaml"))
    folder = Path(sys.executable).parent

    def dagster(*arguments: str) -> None:
        subprocess.run(
            [folder / "dagster", *arguments, *workspace],
            env=environment,
            cwd=PROJECT,
            check=True,
            capture_output=True,
        )

    with (platform.folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [folder / "dagster-daemon", "run", *workspace],
            env=environment,
            cwd=PROJECT,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield dagster
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for_runs(platform: Platform) -> None:
    """Wait until no run is queued or running, twice in a row: a sensor may request another."""
    calm = 0
    with open_instance(platform.home / "dagster", captures_output=False) as instance:
        while calm < 2:
            time.sleep(35)
            unfinished = instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED))
            calm = 0 if unfinished else calm + 1
