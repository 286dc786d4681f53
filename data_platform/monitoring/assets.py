"""source_health as an asset, with its checks."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from data_platform.errors import DataPlatformError
from data_platform.ingestion.assets import feed_key
from data_platform.ingestion.feeds import Feeds
from data_platform.monitoring.health import measure_sources
from data_platform.schemas import QUARANTINED_FEEDBACK, RAW_FEEDBACK, SOURCE_HEALTH
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
    """Return the asset source_health."""

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

    return [source_health]
