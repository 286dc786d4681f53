"""source_health as an asset, with its checks."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from data_platform.errors import RuleViolationError
from data_platform.ingestion.feeds import Feeds
from data_platform.monitoring.health import pending_records, refresh_source_health
from data_platform.schemas import QUARANTINED_FEEDBACK, RAW_FEEDBACK, SOURCE_HEALTH
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    rule_results,
    rule_specs,
    table_spec,
)

GROUP = "monitoring"
COLLECTED_WELL = "every_feed_was_collected_without_error"


def monitoring_assets(feeds: Feeds) -> list[dg.AssetsDefinition]:
    """Return the asset source_health."""

    @dg.multi_asset(
        name=SOURCE_HEALTH.name,
        specs=[
            table_spec(
                SOURCE_HEALTH,
                group=GROUP,
                deps=[RAW_FEEDBACK.name, QUARANTINED_FEEDBACK.name],
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
        ],
    )
    def source_health(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        ledgers = feeds.ledgers()
        lateness = timedelta(days=feeds.settings.config.lateness_days)
        try:
            with warehouse.warehouse.transaction() as transaction:
                pending = pending_records(transaction, feeds)
                _, rules = refresh_source_health(transaction, ledgers, pending, lateness)
                row_count, digest = transaction.digest(SOURCE_HEALTH)
        except RuleViolationError as error:
            warehouse.warehouse.raise_alert("rule_violation", error.table, None, str(error))
            raise dg.Failure(str(error), allow_retries=False) from error
        yield from rule_results(SOURCE_HEALTH, rules)
        failed = {ledger.feed: ledger.error for ledger in ledgers if ledger.error}
        yield dg.AssetCheckResult(
            passed=not failed,
            check_name=COLLECTED_WELL,
            asset_key=SOURCE_HEALTH.name,
            metadata={"failed_feeds": len(failed), **failed},
        )
        yield dg.MaterializeResult(
            asset_key=SOURCE_HEALTH.name,
            metadata={
                "dagster/row_count": row_count,
                "records_read": sum(ledger.read_count for ledger in ledgers),
                "records_pending": sum(pending.values()),
            },
            data_version=dg.DataVersion(digest),
        )

    return [source_health]
