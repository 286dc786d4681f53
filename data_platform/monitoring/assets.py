"""What watches the pipeline, the data and the customers, as assets with their checks."""

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.errors import DataPlatformError
from data_platform.feed_settings import interval
from data_platform.ingestion.assets import feed_key
from data_platform.ingestion.erasure import ErasureLedger, unpurged
from data_platform.ingestion.feeds import Feeds
from data_platform.monitoring.coverage import coverage_chart, measure_coverage, refresh_coverage
from data_platform.monitoring.drift import DriftLimits, refresh_drift
from data_platform.monitoring.health import measure_sources
from data_platform.monitoring.metrics import WHOLE_TABLE, StepRun, metric_rows, refresh_metrics
from data_platform.monitoring.series import refresh_signals
from data_platform.monitoring.sweep import plan_sweep, refresh_sweep
from data_platform.schemas import (
    CLEANED_FEEDBACK,
    COMPLIANCE_SWEEP,
    COVERAGE_STATES,
    DAILY_SENTIMENT,
    DAILY_SIGNALS,
    ERASURES,
    FCT_FEEDBACK,
    FEED_COVERAGE,
    FEED_DRIFT,
    INCIDENTS,
    PIPELINE_METRICS,
    QUARANTINED_FEEDBACK,
    RAW_FEEDBACK,
    SENTIMENT_EVALUATION,
    SENTIMENT_SCORES,
    SOURCE_HEALTH,
    TOPIC_SENTIMENT,
)
from data_platform.storage.days import utc_today
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    fail_whole,
    rules_result,
    rules_spec,
    table_result,
    table_spec,
)

GROUP = "monitoring"
DAILY_TABLES = (
    RAW_FEEDBACK.name,
    CLEANED_FEEDBACK.name,
    FCT_FEEDBACK.name,
    SENTIMENT_SCORES.name,
    DAILY_SENTIMENT.name,
)
WHOLE_TABLES = (QUARANTINED_FEEDBACK.name, SOURCE_HEALTH.name, SENTIMENT_EVALUATION.name)
STEP_EVENTS = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
}
LOOK_BACK = timedelta(days=30)
OVERLAP = timedelta(minutes=10)  # a run's last events may become visible after those of a later one
RUNS_PER_LOOK = 500
COLLECTED_WELL = "every_feed_was_collected_without_error"
NO_INCIDENT_IS_OPEN = "no_incident_is_open"
NO_GAP_IS_OPEN = "no_gap_is_open"
MAX_GAPS_SHOWN = 20
SEEN_AGAIN_IN_TIME = "posts_are_asked_for_again_in_time"
ERASED_IN_TIME = "what_was_deleted_is_gone_in_time"
DEADLINE = "deadline_at"
DRIFT_CHECKS = {
    "post_count": ("volume_is_stable", "of posts a day"),
    "language_mix": ("language_mix_is_stable", "of posts by language"),
    "duplicate_share": ("duplicate_share_is_stable", "of copies"),
    "quarantine_share": ("quarantine_share_is_stable", "of refused records"),
    "score_distribution": ("score_distribution_is_stable", "of posts by score"),
    "unknown_words": ("unknown_words_are_stable", "of words that nobody used before"),
}


def monitoring_assets(feeds: Feeds) -> list[dg.AssetsDefinition]:
    """Return the assets that watch the sources, the data, what customers say, and the work itself."""

    @dg.multi_asset(
        name=SOURCE_HEALTH.name,
        specs=[
            table_spec(
                SOURCE_HEALTH,
                group=GROUP,
                deps=[
                    *(feed_key(name) for name in feeds.names),
                    RAW_FEEDBACK.name,
                    QUARANTINED_FEEDBACK.name,
                ],
                partitions=None,
            )
        ],
        check_specs=[
            rules_spec(SOURCE_HEALTH),
            dg.AssetCheckSpec(
                COLLECTED_WELL,
                asset=SOURCE_HEALTH.name,
                description="The last collection of each feed read every delivery.",
            ),
            dg.AssetCheckSpec(
                NO_GAP_IS_OPEN,
                asset=SOURCE_HEALTH.name,
                description="Everything that the sources offer is stored, or in quarantine.",
            ),
        ],
    )
    def source_health(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        lateness = timedelta(days=feeds.settings.config.lateness_days)
        try:
            health = measure_sources(warehouse.warehouse, feeds, lateness)
            gaps = feeds.gaps()
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        yield rules_result(SOURCE_HEALTH, health.rules)
        failed = {ledger.feed: ledger.error for ledger in health.ledgers if ledger.error}
        yield dg.AssetCheckResult(
            passed=not failed,
            check_name=COLLECTED_WELL,
            asset_key=SOURCE_HEALTH.name,
            metadata={"failed_feeds": len(failed), **failed},
        )
        shown = {f"{gap.feed}: {gap.subject}": gap.reason for gap in gaps[:MAX_GAPS_SHOWN]}
        yield dg.AssetCheckResult(
            passed=not gaps,
            check_name=NO_GAP_IS_OPEN,
            asset_key=SOURCE_HEALTH.name,
            metadata={"open_gaps": len(gaps), **shown},
        )
        yield table_result(
            SOURCE_HEALTH,
            len(health.ledgers),
            health.digest,
            {
                "records_read": sum(ledger.read_count for ledger in health.ledgers),
                "records_pending": sum(health.pending.values()),
                "open_gaps": len(gaps),
            },
        )

    return [
        source_health,
        _feed_coverage(feeds),
        _feed_drift(feeds),
        _erasures(feeds),
        _compliance_sweep(feeds),
        _signals(feeds),
        _pipeline_metrics(feeds),
    ]


def _feed_coverage(feeds: Feeds) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=FEED_COVERAGE.name,
        specs=[
            table_spec(
                FEED_COVERAGE,
                group=GROUP,
                deps=[feed_key(name) for name in feeds.names],
                partitions=None,
            )
        ],
        check_specs=[rules_spec(FEED_COVERAGE)],
    )
    def feed_coverage(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        coverage = measure_coverage(feeds, datetime.now(UTC))
        try:
            with warehouse.warehouse.transaction() as transaction:
                _, rules = refresh_coverage(transaction, coverage)
                _, digest = transaction.digest(FEED_COVERAGE)
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        yield rules_result(FEED_COVERAGE, rules)
        states = Counter(coverage["status"].to_pylist())
        svg = base64.b64encode(coverage_chart(coverage).encode()).decode()
        yield table_result(
            FEED_COVERAGE,
            len(coverage),
            digest,
            {
                **{f"{state.replace(' ', '_')}_days": states[state] for state in COVERAGE_STATES},
                "coverage": dg.MetadataValue.md(
                    f"![coverage by feed and day](data:image/svg+xml;base64,{svg})"
                ),
            },
        )

    return feed_coverage


def _erasures(feeds: Feeds) -> dg.AssetsDefinition:
    within = interval(feeds.settings.config.erase_within)

    @dg.multi_asset(
        name=ERASURES.name,
        specs=[table_spec(ERASURES, group=GROUP, deps=[RAW_FEEDBACK.name], partitions=None)],
        check_specs=[
            rules_spec(ERASURES),
            dg.AssetCheckSpec(
                ERASED_IN_TIME,
                asset=ERASURES.name,
                description=(
                    "No byte is left of posts that were deleted at the source, or that were to be"
                    f" erased, longer than {feeds.settings.config.erase_within} ago."
                ),
            ),
        ],
    )
    def erasures(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        now = datetime.now(UTC)
        ledger = ErasureLedger(feeds.ledger.path)
        requests = ledger.erasures()
        rows = [
            {
                **{
                    name: getattr(request, name)
                    for name in ERASURES.column_names
                    if name != DEADLINE
                },
                DEADLINE: request.requested_at + within,
            }
            for request in requests
        ]
        try:
            with warehouse.warehouse.transaction() as transaction:
                found = pa.Table.from_pylist(rows, schema=ERASURES.arrow_schema)
                transaction.merge(ERASURES, found, delete_where="TRUE")
                rules = transaction.audit_all(ERASURES)
                row_count, digest = transaction.digest(ERASURES)
            deleted, first = unpurged(warehouse.warehouse, feeds.landing, ledger.purged_until())
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        waiting = [request.requested_at for request in requests if request.completed_at is None]
        oldest = min([*waiting, *([first] if first else [])], default=now)
        yield rules_result(ERASURES, rules)
        yield dg.AssetCheckResult(
            passed=now - oldest <= within,
            check_name=ERASED_IN_TIME,
            asset_key=ERASURES.name,
            metadata={
                "open_erasures": len(waiting),
                "posts_deleted_and_not_purged": deleted,
                "oldest_hours": (now - oldest).total_seconds() / 3600,
                "advice": "data-platform maintain" if waiting or deleted else "",
            },
        )
        yield table_result(ERASURES, row_count, digest, {"open_erasures": len(waiting)})

    return erasures


def _compliance_sweep(feeds: Feeds) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=COMPLIANCE_SWEEP.name,
        specs=[
            table_spec(
                COMPLIANCE_SWEEP,
                group=GROUP,
                deps=[feed_key(name) for name in feeds.names],
                partitions=None,
            )
        ],
        check_specs=[
            rules_spec(COMPLIANCE_SWEEP),
            dg.AssetCheckSpec(
                SEEN_AGAIN_IN_TIME,
                asset=COMPLIANCE_SWEEP.name,
                description="Every known post of a feed with recheck_after was shown by its platform,"
                " or asked for again, a day after it was due at the latest.",
            ),
        ],
    )
    def compliance_sweep(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        plan = plan_sweep(feeds, datetime.now(UTC))
        try:
            with warehouse.warehouse.transaction() as transaction:
                _, rules = refresh_sweep(transaction, plan)
                row_count, digest = transaction.digest(COMPLIANCE_SWEEP)
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        overdue: Counter[str] = Counter()
        for row in plan.select(["feed", "overdue_count"]).to_pylist():
            overdue[row["feed"]] += row["overdue_count"]
        late = {f"overdue_{feed}": count for feed, count in sorted(overdue.items()) if count}
        yield rules_result(COMPLIANCE_SWEEP, rules)
        yield dg.AssetCheckResult(
            passed=not late,
            check_name=SEEN_AGAIN_IN_TIME,
            asset_key=COMPLIANCE_SWEEP.name,
            metadata={"overdue_posts": overdue.total(), **late},
        )
        numbers = {name: pc.sum(plan[name]).as_py() or 0 for name in ("due_count", "post_count")}
        yield table_result(COMPLIANCE_SWEEP, row_count, digest, numbers)

    return compliance_sweep


def _feed_drift(feeds: Feeds) -> dg.AssetsDefinition:
    options = feeds.settings.config.alerts
    limits = DriftLimits(options.drift_psi, options.volume_ratio)

    @dg.multi_asset(
        name=FEED_DRIFT.name,
        specs=[
            table_spec(
                FEED_DRIFT,
                group=GROUP,
                deps=[
                    DAILY_SENTIMENT.name,
                    CLEANED_FEEDBACK.name,
                    SENTIMENT_SCORES.name,
                    QUARANTINED_FEEDBACK.name,
                ],
                partitions=None,
            )
        ],
        check_specs=[
            rules_spec(FEED_DRIFT),
            *(
                dg.AssetCheckSpec(
                    name,
                    asset=FEED_DRIFT.name,
                    description=(
                        f"The share {what} is about the same in the latest 7 days of each feed as in"
                        f" the 28 before: no population stability index of {limits.psi:g} or more."
                        if measure != "post_count"
                        else f"The number {what} is within {limits.volume_ratio:g} times that before."
                    ),
                )
                for measure, (name, what) in DRIFT_CHECKS.items()
            ),
        ],
    )
    def feed_drift(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        try:
            with warehouse.warehouse.transaction() as transaction:
                rows, rules = refresh_drift(transaction, utc_today(), limits)
                row_count, digest = transaction.digest(FEED_DRIFT)
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        yield rules_result(FEED_DRIFT, rules)
        found = rows.to_pylist()
        for measure, (name, _) in DRIFT_CHECKS.items():
            yield _drift_check(name, [row for row in found if row["measure"] == measure])
        yield table_result(
            FEED_DRIFT,
            row_count,
            digest,
            {"drifted": sum(row["is_drifted"] for row in found), "feeds_compared": row_count},
        )

    return feed_drift


def _drift_check(name: str, rows: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    """Return the check of one measure: a number of each feed to plot, and what has drifted."""
    numbers = {
        f"{row['feed']}_{'psi' if row['psi'] is not None else 'posts_per_day'}": (
            row["observed"] if row["psi"] is None else row["psi"]
        )
        for row in rows
    }
    drifted = {
        f"drift_{row['feed']}": (
            f"{row['category'] or 'posts a day'}: {row['observed']:.3g},"
            f" before {row['expected']:.3g}"
        )
        for row in rows
        if row["is_drifted"]
    }
    return dg.AssetCheckResult(
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=name,
        asset_key=FEED_DRIFT.name,
        metadata={"drifted_feeds": len(drifted), **numbers, **drifted},
    )


def _signals(feeds: Feeds) -> dg.AssetsDefinition:
    """daily_signals and incidents; they read marts, which come later in the way of the data, as watchers do."""
    rate = feeds.settings.config.alerts.false_alarms_per_month

    @dg.multi_asset(
        name=DAILY_SIGNALS.name,
        specs=[
            table_spec(
                table,
                group=GROUP,
                deps=[DAILY_SENTIMENT.name, TOPIC_SENTIMENT.name, FEED_COVERAGE.name],
                partitions=None,
                kinds=frozenset({"duckdb", "numpy"}),
            )
            for table in (DAILY_SIGNALS, INCIDENTS)
        ],
        check_specs=[
            rules_spec(DAILY_SIGNALS),
            rules_spec(INCIDENTS),
            dg.AssetCheckSpec(
                NO_INCIDENT_IS_OPEN,
                asset=INCIDENTS.name,
                description=(
                    "No volume and no negative share is unusual at present; with nothing unusual,"
                    f" about {rate:g} false alarm(s) a month are to be expected over all series."
                ),
            ),
        ],
    )
    def daily_signals(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        file_feeds = [name for name in feeds.names if feeds.is_of_files(name)]
        try:
            with warehouse.warehouse.transaction() as transaction:
                signal_rules, incident_rules = refresh_signals(
                    transaction, utc_today(), file_feeds, rate
                )
                digests = {t: transaction.digest(t) for t in (DAILY_SIGNALS, INCIDENTS)}
                ((highest, days),) = transaction.connection.execute(
                    "SELECT coalesce(max(abs(score)), 0), count(*) FILTER (is_anomaly)"
                    f" FROM {DAILY_SIGNALS.name}"
                ).fetchall()
                open_count = transaction.count(
                    f"SELECT count(*) FROM {INCIDENTS.name} WHERE NOT is_over"
                )
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        yield rules_result(DAILY_SIGNALS, signal_rules)
        yield rules_result(INCIDENTS, incident_rules)
        yield dg.AssetCheckResult(
            passed=open_count == 0,
            severity=dg.AssetCheckSeverity.WARN,
            check_name=NO_INCIDENT_IS_OPEN,
            asset_key=INCIDENTS.name,
            metadata={"open_incidents": open_count},
        )
        numbers = {"highest_score": highest, "unusual_days": days}
        yield table_result(DAILY_SIGNALS, *digests[DAILY_SIGNALS], numbers)
        yield table_result(INCIDENTS, *digests[INCIDENTS], {"open_incidents": open_count})

    return daily_signals


def _pipeline_metrics(feeds: Feeds) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=PIPELINE_METRICS.name,
        specs=[
            table_spec(
                PIPELINE_METRICS,
                group=GROUP,
                deps=[*(feed_key(name) for name in feeds.names), *DAILY_TABLES, *WHOLE_TABLES],
                partitions=None,
            )
        ],
        check_specs=[rules_spec(PIPELINE_METRICS)],
    )
    def pipeline_metrics(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[StageEvent]:
        now = datetime.now(UTC)
        try:
            with warehouse.warehouse.transaction() as transaction:
                (latest,) = transaction.connection.execute(
                    f"SELECT max(materialized_at) FROM {PIPELINE_METRICS.name}"
                ).fetchall()[0]
            measured = metric_rows(read_steps(context.instance, latest or now - LOOK_BACK))
            with warehouse.warehouse.transaction() as transaction:
                added, rules = refresh_metrics(transaction, measured, now)
                row_count = transaction.count(f"SELECT count(*) FROM {PIPELINE_METRICS.name}")
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        yield rules_result(PIPELINE_METRICS, rules)
        # One version for ever: a log grows with every run, and must not start one by that.
        yield table_result(PIPELINE_METRICS, row_count, "log", _plots(added))

    return pipeline_metrics


def read_steps(instance: dg.DagsterInstance, since: datetime) -> list[StepRun]:
    """Return the steps of the runs that Dagster has heard of since then, with what they materialized."""
    records = instance.get_run_records(
        dg.RunsFilter(updated_after=since - OVERLAP),
        limit=RUNS_PER_LOOK,
        order_by="update_timestamp",
        ascending=True,
    )
    steps: dict[tuple[str, str], StepRun] = {}
    for record in records:
        run = record.dagster_run
        for found in instance.get_records_for_run(run.run_id, of_type=STEP_EVENTS).records:
            event = found.event_log_entry.dagster_event
            if event is None:
                continue
            at = datetime.fromtimestamp(found.event_log_entry.timestamp, UTC)
            place = (run.run_id, str(event.step_key))
            step = steps.setdefault(place, StepRun(run.run_id, run.job_name, at))
            if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
                told = event.step_materialization_data.materialization
                numbers = {
                    name: value.value
                    for name, value in told.metadata.items()
                    if isinstance(value.value, int | float)
                }
                step.add(
                    told.asset_key.to_user_string(), told.partition or WHOLE_TABLE, at, numbers
                )
            elif event.event_type is not dg.DagsterEventType.STEP_START:
                step.ended_at = at
    return list(steps.values())


def _plots(added: pa.Table) -> dict[str, Any]:
    """Return numbers that the UI plots over time: seconds and rows per second by asset, and the lag."""
    seconds: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for row in added.select(["asset", "seconds", "input_count"]).to_pylist():
        seconds[row["asset"]] += row["seconds"]
        rows[row["asset"]] += row["input_count"] or 0
    lags = [lag for lag in added["median_lag_seconds"].to_pylist() if lag is not None]
    return {
        **{f"{asset}_seconds": round(total, 3) for asset, total in sorted(seconds.items())},
        **{
            f"{asset}_rows_per_second": round(rows[asset] / total, 1)
            for asset, total in sorted(seconds.items())
            if rows[asset] and total
        },
        **({"median_lag_seconds": median(lags)} if lags else {}),
        "materializations": len(added),
    }
