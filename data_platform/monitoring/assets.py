"""source_health and feed_coverage as assets, with their checks."""

import base64
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from data_platform.errors import DataPlatformError
from data_platform.ingestion.assets import feed_key
from data_platform.ingestion.feeds import Feeds
from data_platform.monitoring.coverage import coverage_chart, measure_coverage, refresh_coverage
from data_platform.monitoring.health import measure_sources
from data_platform.schemas import (
    COVERAGE_STATES,
    FEED_COVERAGE,
    QUARANTINED_FEEDBACK,
    RAW_FEEDBACK,
    SOURCE_HEALTH,
)
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    fail_step,
    rule_results,
    rule_specs,
    table_spec,
)

GROUP = "monitoring"
COLLECTED_WELL = "every_feed_was_collected_without_error"
NO_GAP_IS_OPEN = "no_gap_is_open"
MAX_GAPS_SHOWN = 20


def monitoring_assets(feeds: Feeds) -> list[dg.AssetsDefinition]:
    """Return the assets source_health and feed_coverage."""

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
            *rule_specs(SOURCE_HEALTH),
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
            yield from fail_step(warehouse.warehouse, error)
            return
        yield from rule_results(SOURCE_HEALTH, health.rules)
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
        yield dg.MaterializeResult(
            asset_key=SOURCE_HEALTH.name,
            metadata={
                "dagster/row_count": len(health.ledgers),
                "records_read": sum(ledger.read_count for ledger in health.ledgers),
                "records_pending": sum(health.pending.values()),
                "open_gaps": len(gaps),
            },
            data_version=dg.DataVersion(health.digest),
        )

    return [source_health, _feed_coverage(feeds)]


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
        check_specs=rule_specs(FEED_COVERAGE),
    )
    def feed_coverage(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        coverage = measure_coverage(feeds, datetime.now(UTC))
        try:
            with warehouse.warehouse.transaction() as transaction:
                _, rules = refresh_coverage(transaction, coverage)
                _, digest = transaction.digest(FEED_COVERAGE)
        except DataPlatformError as error:
            yield from fail_step(warehouse.warehouse, error)
            return
        yield from rule_results(FEED_COVERAGE, rules)
        states = Counter(coverage["status"].to_pylist())
        svg = base64.b64encode(coverage_chart(coverage).encode()).decode()
        yield dg.MaterializeResult(
            asset_key=FEED_COVERAGE.name,
            metadata={
                "dagster/row_count": len(coverage),
                **{f"{state.replace(' ', '_')}_days": states[state] for state in COVERAGE_STATES},
                "coverage": dg.MetadataValue.md(
                    f"![coverage by feed and day](data:image/svg+xml;base64,{svg})"
                ),
            },
            data_version=dg.DataVersion(digest),
        )

    return feed_coverage
