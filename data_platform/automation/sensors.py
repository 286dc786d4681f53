"""Sensors that start runs: on new files, on feeds that are due, and on days that changed."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from data_platform.automation.jobs import COLLECT_JOB
from data_platform.errors import SourceError
from data_platform.feed_settings import interval
from data_platform.ingestion.assets import (
    COLLECT_NEW,
    COLLECT_TAG,
    feed_key,
    landed_materialization,
)
from data_platform.ingestion.collect import PendingFiles
from data_platform.ingestion.feeds import Feeds, PendingWindows
from data_platform.storage.resources import DATA_VERSION_TAG

NEW_FEEDBACK_SENSOR = "new_feedback_sensor"
COLLECT_FEEDS_SENSOR = "collect_feeds_sensor"
REFRESH_SENSOR = "refresh_sensor"
ALERT_SENSOR = "alert_sensor"
STALE_DAYS_SENSOR = "stale_days_sensor"
PLATFORM_SENSORS = (
    NEW_FEEDBACK_SENSOR,
    COLLECT_FEEDS_SENSOR,
    REFRESH_SENSOR,
    STALE_DAYS_SENSOR,
    ALERT_SENSOR,
)
FEED_TAG = "data_platform/feed"
# Dagster ends an evaluation after 60 s, and its cursor is lost then.
BUDGET_SECONDS = 20.0
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
RUNNING = dg.DefaultSensorStatus.RUNNING
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

Evaluation = Callable[[dg.SensorEvaluationContext], dg.SensorResult | dg.SkipReason]


def refreshing_sensors(feeds: Feeds, collect_job: Any) -> list[dg.SensorDefinition]:
    """Return the sensors that collect feeds and refresh what changed, all of them on by default.

    Args:
        collect_job: the job that collects feeds.
    """
    return [
        dg.SensorDefinition(
            name=NEW_FEEDBACK_SENSOR,
            job=collect_job,
            evaluation_fn=_new_feedback(feeds),
            minimum_interval_seconds=15,
            default_status=RUNNING,
            description=(
                "Collects a feed as soon as a new or changed file of it has settled. Renamed,"
                " touched and removed files, and files that were refused as they are, start nothing."
            ),
        ),
        dg.SensorDefinition(
            name=COLLECT_FEEDS_SENSOR,
            job=collect_job,
            evaluation_fn=_due_feeds(feeds),
            minimum_interval_seconds=30,
            default_status=RUNNING,
            description=(
                "Looks at each feed every `every`: opens its new day, tries again what may succeed"
                " now, and reports days that landed without Dagster hearing of them."
            ),
        ),
        dg.AutomationConditionSensorDefinition(
            name=REFRESH_SENSOR,
            target=dg.AssetSelection.all() - dg.AssetSelection.key_prefixes("feed"),
            minimum_interval_seconds=30,
            default_status=RUNNING,
            description="Refreshes the days that changed, and what is made from all days.",
        ),
    ]


def _new_feedback(feeds: Feeds) -> Evaluation:
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        round_ = _Round(feeds, context)
        for name in round_.feeds():
            if not feeds.is_of_files(name):
                continue
            pending = round_.pending(name)
            if pending and pending.has_work:
                round_.request(name, pending)
        return round_.result({})

    return evaluate


def _due_feeds(feeds: Feeds) -> Evaluation:
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        round_ = _Round(feeds, context)
        looked: dict[str, str] = dict(round_.state.get("looked_at", {}))
        for name in round_.feeds():
            every = interval(feeds.settings.feed(name).every)
            finished = feeds.ledger.feed(name).finished_at
            # Each request that a webhook takes in is an end: under steady traffic the latest is new.
            seen = [finished] if finished and name not in feeds.webhooks else []
            seen += [datetime.fromisoformat(looked[name])] if name in looked else []
            if seen and abs(round_.now - max(seen)) < every:
                continue
            pending = round_.pending(name)
            if pending is None:
                continue
            # Not "before": a clock that was ahead for a while must not hold up the days until then.
            is_first_of_day = finished is None or finished.date() != feeds.open_days.last
            is_paused = isinstance(pending, PendingWindows) and pending.paused_until is not None
            if pending.has_work or (is_first_of_day and not is_paused):
                round_.request(name, pending)
            else:
                round_.report_landed_days(name)
            looked[name] = round_.now.isoformat()
        return round_.result({"looked_at": looked})

    return evaluate


class _Round:
    """One evaluation of a sensor over all feeds.

    The cursor only paces: what is to be done follows from files, ledger and history, so that a
    lost or repeated evaluation loses nothing and collects nothing twice. Runs carry no run key:
    Dagster would suppress a second run of the same key for ever.
    """

    def __init__(self, feeds: Feeds, context: dg.SensorEvaluationContext) -> None:
        self._feeds, self._context = feeds, context
        self.now = datetime.now(UTC)
        self._deadline = time.monotonic() + BUDGET_SECONDS
        self.state: dict[str, Any] = json.loads(context.cursor or "{}")
        self._requested: dict[str, dict[str, Any]] = dict(self.state.get("requested", {}))
        self._resume_after: str | None = None
        self._runs: list[dg.RunRequest] = []
        self._events: list[dg.AssetMaterialization] = []
        self._notes: list[str] = []

    def feeds(self) -> Iterator[str]:
        """Yield the feeds, first those that the last evaluation had no time for, while there is time."""
        names = self._feeds.names
        last = self.state.get("resume_after")
        start = names.index(last) + 1 if last in names else 0
        for name in names[start:] + names[:start]:
            if time.monotonic() > self._deadline:
                self._notes.append(f"no time was left for {name} and those behind it")
                return
            if not self._is_being_collected(name):
                yield name
            self._resume_after = name
        self._resume_after = None

    def pending(self, name: str) -> PendingFiles | PendingWindows | None:
        """Return what is new in a feed; None, with a note, if it cannot be looked at."""
        try:
            found = self._feeds.pending(name, self.now, self._deadline)
        except SourceError as error:
            self._notes.append(str(error))
            return None
        if found.unsettled_count:
            self._notes.append(f"{name}: {found.unsettled_count} file(s) still being written")
        if isinstance(found, PendingWindows) and found.paused_until:
            self._notes.append(f"{name}: paused until {found.paused_until:%Y-%m-%d %H:%M:%S} UTC")
        if not found.has_work:
            self._requested.pop(name, None)
        return found

    def request(self, name: str, pending: PendingFiles | PendingWindows) -> None:
        """Request a collection, unless the same one was requested and came to nothing just before."""
        before = self._requested.get(name, {})
        times = before.get("times", 0) if before.get("state") == pending.state else 0
        pause = min(FIRST_PAUSE * 2 ** max(times - 1, 0), LONGEST_PAUSE)
        if times and abs(self.now - datetime.fromisoformat(before["at"])) < pause:
            self._notes.append(f"{name}: collected {times} time(s) without an end; pausing")
            return
        self._requested[name] = {
            "state": pending.state,
            "times": times + 1,
            "at": self.now.isoformat(),
        }
        self._runs.append(
            dg.RunRequest(
                job_name=COLLECT_JOB,
                asset_selection=[feed_key(name)],
                partition_key=self._feeds.open_days.last.isoformat(),
                tags={FEED_TAG: name, COLLECT_TAG: COLLECT_NEW},
            )
        )

    def report_landed_days(self, name: str) -> None:
        """Tell Dagster of days whose segments are others than it knows of: a run was killed."""
        known = self._context.instance.event_log_storage.get_latest_tags_by_partition(
            feed_key(name), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
        )
        for day in self._feeds.landing.days(name):
            told = known.get(day.isoformat(), {}).get(DATA_VERSION_TAG)
            if day in self._feeds.open_days and told != self._feeds.version(name, day):
                self._events.append(landed_materialization(self._feeds, name, day, {}))

    def result(self, further_state: dict[str, Any]) -> dg.SensorResult:
        state = {
            "requested": self._requested,
            "resume_after": self._resume_after,
            **further_state,
        }
        nothing = "; ".join(self._notes) or "nothing new"
        return dg.SensorResult(
            run_requests=self._runs,
            asset_events=self._events,
            cursor=json.dumps(state, sort_keys=True),
            skip_reason=None if self._runs else nothing,
        )

    def _is_being_collected(self, name: str) -> bool:
        running = dg.RunsFilter(tags={FEED_TAG: name}, statuses=UNFINISHED)
        return self._context.instance.get_runs_count(running) > 0
