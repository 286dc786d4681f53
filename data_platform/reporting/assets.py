"""daily_sentiment, the published snapshot and the report as assets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg

from data_platform.errors import DataPlatformError
from data_platform.ingestion.feeds import Feeds
from data_platform.monitoring.checks import read_failing_checks
from data_platform.partitions import backfill_policy
from data_platform.reporting.campaigns import fold_texts, read_texts, refresh_campaigns
from data_platform.reporting.export import Selection, export_table
from data_platform.reporting.marts import (
    INPUTS,
    TOPIC_INPUTS,
    refresh_daily_sentiment,
    refresh_topic_sentiment,
)
from data_platform.reporting.report import write_report
from data_platform.reporting.snapshot import PUBLISHED, publish
from data_platform.reporting.state import Finding, findings, read_open_alerts
from data_platform.reporting.terms import refresh_rising_terms
from data_platform.reporting.weekly import latest_day, refresh_top_posts, refresh_weekly_sentiment
from data_platform.schemas import (
    CAMPAIGNS,
    CLEANED_FEEDBACK,
    DAILY_SENTIMENT,
    FCT_FEEDBACK,
    INCIDENTS,
    RISING_TERMS,
    SENTIMENT_SCORES,
    TOP_POSTS,
    TOPIC_SENTIMENT,
    WEEKLY_SENTIMENT,
    Table,
)
from data_platform.settings import Settings
from data_platform.storage.days import DaySpan, utc_today
from data_platform.storage.resources import (
    PEAK_MEMORY,
    StageEvent,
    WarehouseResource,
    fail_whole,
    judged_days,
    peak_memory_bytes,
    refresh_partitions,
    rule_specs,
    rules_result,
    rules_spec,
    table_result,
    table_spec,
)
from data_platform.storage.warehouse import DayWrite, Warehouse

GROUP = "reporting"
VOLUME_CHECK = "volume_is_usual"
USUAL_DAYS = 14
FURTHER_RULES = {
    "every_post_is_counted_once": "The posts of daily_sentiment are the posts of cleaned_feedback."
}


def reporting_assets(
    feeds: Feeds,
    partitions: dg.PartitionsDefinition[str],
    earlier: Sequence[dg.AssetsDefinition],
) -> list[dg.AssetsDefinition]:
    """Return the marts, feedback_snapshot, feedback_report, and feedback_export if it has anything to write.

    Args:
        earlier: the assets of the earlier stages, whose failing checks the report names.
    """
    settings = feeds.settings
    weekly_marts = _weekly_marts()
    volume_ratio = settings.config.alerts.volume_ratio

    @dg.multi_asset(
        name=DAILY_SENTIMENT.name,
        specs=[table_spec(DAILY_SENTIMENT, group=GROUP, deps=INPUTS, partitions=partitions)],
        check_specs=[
            *rule_specs(DAILY_SENTIMENT, FURTHER_RULES),
            dg.AssetCheckSpec(
                VOLUME_CHECK,
                asset=DAILY_SENTIMENT.name,
                description=(
                    f"No feed has on a refreshed day more than {volume_ratio:g} times the posts of"
                    f" the median of the {USUAL_DAYS} days before."
                ),
            ),
        ],
        backfill_policy=backfill_policy(),
    )
    def daily_sentiment(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[StageEvent]:
        def refresh(days: DaySpan) -> list[DayWrite]:
            with warehouse.warehouse.transaction() as transaction:
                return refresh_daily_sentiment(transaction, days)

        yield from refresh_partitions(
            context,
            warehouse.warehouse,
            [DAILY_SENTIMENT],
            refresh,
            lambda days: warehouse.warehouse.row_counts(CLEANED_FEEDBACK, days),
            {DAILY_SENTIMENT.name: FURTHER_RULES},
            lambda writes: [_volume_check(warehouse.warehouse, writes, volume_ratio)],
        )

    @dg.asset(
        deps=[table.name for table in PUBLISHED if table.name != "active_model"],
        group_name=GROUP,
        kinds={"duckdb"},
        owners=["team:feedback"],
        tags={"stage": GROUP},
        code_version="1",
    )
    def feedback_snapshot(warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
        """The published copy for dashboards, notebooks and BI: whole, verified, without personal columns."""
        try:
            published = publish(warehouse.warehouse, settings.snapshot_path)
        except DataPlatformError as error:
            raise dg.Failure(str(error)) from error
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(published.path)),
                "changed_table_days": published.changed_days,
                "size_bytes": published.size_bytes,
                "seconds": published.seconds,
                PEAK_MEMORY: peak_memory_bytes(),
                **{f"{name}_rows": count for name, count in published.row_counts.items()},
            }
        )

    @dg.asset(
        deps=[feedback_snapshot],
        group_name=GROUP,
        kinds={"html"},
        owners=["team:feedback"],
        tags={"stage": GROUP},
        code_version="1",
    )
    def feedback_report(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> dg.MaterializeResult[None]:
        """One HTML page that shows the snapshot: what is not well, volume, sentiment, incidents, posts."""
        checks = [key for a in (*earlier, daily_sentiment, weekly_marts) for key in a.check_keys]
        try:
            found = read_findings(warehouse.warehouse, feeds, context.instance, checks)
            numbers = write_report(settings.snapshot_path, settings.report_path, found)
        except DataPlatformError as error:
            raise dg.Failure(str(error)) from error
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(settings.report_path)),
                "findings": len(found),
                PEAK_MEMORY: peak_memory_bytes(),
                "posts": numbers.post_count,
                "days": numbers.day_count,
            }
        )

    topic_sentiment = _topic_sentiment(partitions)
    exports = [_feedback_export(settings)] if settings.config.exports else []
    return [
        daily_sentiment,
        topic_sentiment,
        weekly_marts,
        feedback_snapshot,
        feedback_report,
        *exports,
    ]


def read_findings(
    warehouse: Warehouse,
    feeds: Feeds,
    instance: dg.DagsterInstance,
    checks: Iterable[dg.AssetCheckKey],
) -> list[Finding]:
    """Return what is not well at present, for the report."""
    with warehouse.transaction() as transaction:
        alerts = read_open_alerts(transaction)
    failing = [(c.asset, c.check, c.is_warning) for c in read_failing_checks(instance, checks)]
    return findings(alerts, failing, feeds.gaps())


def _feedback_export(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        deps=["feedback_snapshot"],
        group_name=GROUP,
        kinds={"file"},
        owners=["team:feedback"],
        tags={"stage": GROUP},
        code_version="1",
    )
    def feedback_export() -> dg.MaterializeResult[None]:
        """One file per entry of `exports` in feedback.yaml: rows of the snapshot for other programs."""
        metadata: dict[str, Any] = {}
        failures = []
        for export in settings.config.exports:
            chosen = Selection(latest_days=export.days)
            try:
                written = export_table(
                    settings.snapshot_path,
                    export.table,
                    settings.export_path(export),
                    export.format,
                    chosen,
                )
            except DataPlatformError as error:  # one that fails does not hold up the others
                failures.append(str(error))
                continue
            name = str(Path(export.path or "exports", export.file_name))
            metadata[f"{name}_path"] = dg.MetadataValue.path(str(written.path))
            metadata[f"{name}_rows"] = written.row_count
            metadata[f"{name}_bytes"] = written.size_bytes
        if failures:
            raise dg.Failure("; ".join(failures))
        return dg.MaterializeResult(metadata={**metadata, PEAK_MEMORY: peak_memory_bytes()})

    return feedback_export


def _topic_sentiment(partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=TOPIC_SENTIMENT.name,
        specs=[table_spec(TOPIC_SENTIMENT, group=GROUP, deps=TOPIC_INPUTS, partitions=partitions)],
        check_specs=rule_specs(TOPIC_SENTIMENT),
        backfill_policy=backfill_policy(),
    )
    def topic_sentiment(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[StageEvent]:
        def refresh(days: DaySpan) -> list[DayWrite]:
            with warehouse.warehouse.transaction() as transaction:
                return refresh_topic_sentiment(transaction, days)

        yield from refresh_partitions(
            context,
            warehouse.warehouse,
            [TOPIC_SENTIMENT],
            refresh,
            lambda days: warehouse.warehouse.row_counts(FCT_FEEDBACK, days),
        )

    return topic_sentiment


def _weekly_marts() -> dg.AssetsDefinition:
    """What is made from all days, or the latest weeks of them."""
    deps: Mapping[Table, Sequence[str]] = {
        WEEKLY_SENTIMENT: (DAILY_SENTIMENT.name, TOPIC_SENTIMENT.name),
        TOP_POSTS: (FCT_FEEDBACK.name,),
        RISING_TERMS: (CLEANED_FEEDBACK.name, SENTIMENT_SCORES.name, INCIDENTS.name),
        CAMPAIGNS: (CLEANED_FEEDBACK.name, FCT_FEEDBACK.name, SENTIMENT_SCORES.name),
    }

    @dg.multi_asset(
        name="weekly_marts",
        specs=[
            table_spec(t, group=GROUP, deps=names, partitions=None) for t, names in deps.items()
        ],
        check_specs=[rules_spec(table) for table in deps],
    )
    def weekly_marts(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        try:
            with warehouse.warehouse.transaction() as transaction:
                last_day = latest_day(transaction)
                texts = read_texts(transaction, last_day)
            folded = fold_texts(texts)
            with warehouse.warehouse.transaction() as transaction:
                rules = {
                    WEEKLY_SENTIMENT: refresh_weekly_sentiment(transaction, utc_today()),
                    TOP_POSTS: refresh_top_posts(transaction, last_day),
                    RISING_TERMS: refresh_rising_terms(transaction, last_day),
                    CAMPAIGNS: refresh_campaigns(transaction, folded, last_day),
                }
                digests = {table: transaction.digest(table) for table in rules}
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        for table, found in rules.items():
            yield rules_result(table, found)
            row_count, digest = digests[table]
            yield table_result(table, row_count, digest)

    return weekly_marts


def _volume_check(
    warehouse: Warehouse, writes: Sequence[DayWrite], ratio_limit: float
) -> dg.AssetCheckResult:
    """Compare each feed's posts on the refreshed days with the median of the days before."""
    days = sorted(write.day for write in writes)
    with warehouse.transaction() as transaction:
        rows = transaction.connection.execute(
            f"SELECT feed, date, sum(post_count)::BIGINT FROM {DAILY_SENTIMENT.name}"
            f" WHERE date BETWEEN ?::DATE - {USUAL_DAYS} AND ? GROUP BY feed, date",
            [days[0], days[-1]],
        ).fetchall()
    posts: dict[str, dict[date, int]] = {}
    for feed, day, count in rows:
        posts.setdefault(feed, {})[day] = count
    ratios: dict[tuple[str, date], float] = {}
    for feed, by_day in posts.items():
        for day in set(days) & set(by_day):
            before = [count for d, count in by_day.items() if 0 < (day - d).days <= USUAL_DAYS]
            if len(before) >= USUAL_DAYS // 2:
                ratios[feed, day] = by_day[day] / median(before)
    unusual = sorted(place for place, ratio in ratios.items() if ratio > ratio_limit)
    return dg.AssetCheckResult(
        passed=not unusual,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=VOLUME_CHECK,
        asset_key=DAILY_SENTIMENT.name,
        metadata={
            "highest_ratio": max(ratios.values(), default=0.0),
            "limit": ratio_limit,
            "feed_days_compared": len(ratios),
            "unusual": ", ".join(f"{feed} on {day}" for feed, day in unusual[:20]),
            **judged_days(days, {day for _, day in unusual}),
        },
    )
