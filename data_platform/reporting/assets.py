"""daily_sentiment, the published snapshot and the report as assets."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median

import dagster as dg

from data_platform.errors import DataPlatformError
from data_platform.partitions import backfill_policy
from data_platform.reporting.marts import INPUTS, refresh_daily_sentiment
from data_platform.reporting.report import write_report
from data_platform.reporting.snapshot import PUBLISHED, publish
from data_platform.schemas import CLEANED_FEEDBACK, DAILY_SENTIMENT
from data_platform.storage.days import DaySpan
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    judged_days,
    refresh_partitions,
    rule_specs,
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
    partitions: dg.PartitionsDefinition[str], snapshot: Path, report: Path, volume_ratio: float
) -> list[dg.AssetsDefinition]:
    """Return daily_sentiment, feedback_snapshot and feedback_report."""

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
            published = publish(warehouse.warehouse, snapshot)
        except DataPlatformError as error:
            raise dg.Failure(str(error)) from error
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(published.path)),
                "changed_table_days": published.changed_days,
                "size_bytes": published.size_bytes,
                "seconds": published.seconds,
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
    def feedback_report() -> dg.MaterializeResult[None]:
        """One HTML page that shows the snapshot: volume, sentiment, languages and sources."""
        try:
            numbers = write_report(snapshot, report)
        except DataPlatformError as error:
            raise dg.Failure(str(error)) from error
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(report)),
                "posts": numbers.post_count,
                "days": numbers.day_count,
            }
        )

    return [daily_sentiment, feedback_snapshot, feedback_report]


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
