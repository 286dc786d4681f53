"""Feeds, raw_feedback and quarantined_feedback as assets."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg

from data_platform.errors import RuleViolationError, SourceError, TransientSourceError
from data_platform.ingestion.feeds import Feeds, segments_digest
from data_platform.ingestion.raw import load_day, load_quarantine
from data_platform.partitions import backfill_policy
from data_platform.schemas import QUARANTINED_FEEDBACK, RAW_FEEDBACK
from data_platform.settings import FileFeed
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    refresh_partitions,
    rule_results,
    rule_specs,
    table_spec,
)
from data_platform.storage.warehouse import DayWrite

GROUP = "ingestion"
QUARANTINED_SHARE_CHECK = "quarantined_share_is_low"


def feed_key(name: str) -> dg.AssetKey:
    """Return the asset key of a feed."""
    return dg.AssetKey(["feed", name])


def ingestion_assets(
    feeds: Feeds, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """Return one asset for each feed, raw_feedback and quarantined_feedback."""
    collected = [_feed_asset(feed, feeds, partitions) for feed in feeds.settings.feeds]
    return [*collected, _raw_feedback(feeds, partitions), _quarantined_feedback(feeds)]


def _feed_asset(
    feed: FileFeed, feeds: Feeds, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    key = feed_key(feed.name)

    @dg.asset(
        key=key,
        description=(
            f"Posts of {feed.platform} as delivered in `{feed.path}`: one landing segment per"
            " delivery and day of posting. A file is landed once, with all its days."
        ),
        partitions_def=partitions,
        backfill_policy=backfill_policy(),
        group_name=GROUP,
        kinds={feed.kind, "parquet"},
        owners=["team:feedback"],
        tags={"stage": GROUP, "source": feed.platform},
        code_version="1",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL),
    )
    def collect_feed(context: dg.AssetExecutionContext) -> Iterator[StageEvent]:
        try:
            collection = feeds.collect(feed.name)
        except SourceError as error:
            can_retry = isinstance(error, TransientSourceError)
            raise dg.Failure(str(error), allow_retries=can_retry) from error
        context.log.info(
            f"{collection.delivery_count} new deliveries with {collection.read_count} records,"
            f" {collection.refused_count} of them to quarantine"
        )
        requested = sorted(context.partition_keys)
        landed = {
            day.isoformat(): count
            for day, count in collection.landed_by_day.items()
            if day in feeds.open_days
        }
        for day in sorted(set(landed) - set(requested)):
            yield _landed(feeds, feed.name, day, landed)
        if collection.errors:
            for day in sorted(set(landed) & set(requested)):
                yield _landed(feeds, feed.name, day, landed)
            message = f"{len(collection.errors)} delivery(ies) refused: " + "; ".join(
                collection.errors
            )
            raise dg.Failure(message, allow_retries=False)
        if len(requested) == 1:
            event = _landed(feeds, feed.name, requested[0], landed)
            yield dg.MaterializeResult(
                metadata=event.metadata,
                data_version=dg.DataVersion(_version(feeds, feed.name, requested[0])),
            )
            return
        yield dg.MaterializeResult()
        for day in requested:
            yield _landed(feeds, feed.name, day, landed)

    return collect_feed


def _version(feeds: Feeds, name: str, day: str) -> str:
    """Data version of one day of a feed: it follows the day's segments."""
    segments = feeds.landing.segments([name], date.fromisoformat(day))
    return segments_digest([segment.path for segment in segments])


def _landed(feeds: Feeds, name: str, day: str, landed: dict[str, int]) -> dg.AssetMaterialization:
    """What a collection did for one day of a feed."""
    return dg.AssetMaterialization(
        asset_key=feed_key(name),
        partition=day,
        metadata={"records_landed": landed.get(day, 0)},
        tags={
            "dagster/data_version": _version(feeds, name, day),
            "dagster/data_version_is_user_provided": "true",
        },
    )


def _raw_feedback(feeds: Feeds, partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=RAW_FEEDBACK.name,
        specs=[
            table_spec(
                RAW_FEEDBACK,
                group=GROUP,
                deps=[feed_key(name) for name in feeds.names],
                partitions=partitions,
            )
        ],
        check_specs=rule_specs(RAW_FEEDBACK),
        backfill_policy=backfill_policy(),
    )
    def raw_feedback(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[StageEvent]:
        def refresh(day: date) -> list[DayWrite]:
            with warehouse.warehouse.transaction() as transaction:
                return load_day(transaction, feeds.landing, feeds.names, day)

        yield from refresh_partitions(context, warehouse.warehouse, [RAW_FEEDBACK], refresh)

    return raw_feedback


def _quarantined_feedback(feeds: Feeds) -> dg.AssetsDefinition:
    limit = feeds.settings.config.alerts.quarantined_share

    @dg.multi_asset(
        name=QUARANTINED_FEEDBACK.name,
        specs=[
            table_spec(
                QUARANTINED_FEEDBACK,
                group=GROUP,
                deps=[feed_key(name) for name in feeds.names],
                partitions=None,
            )
        ],
        check_specs=[
            *rule_specs(QUARANTINED_FEEDBACK),
            dg.AssetCheckSpec(
                QUARANTINED_SHARE_CHECK,
                asset=QUARANTINED_FEEDBACK.name,
                description=f"At most {limit:.0%} of the records of each feed are in quarantine.",
            ),
        ],
    )
    def quarantined_feedback(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        try:
            with warehouse.warehouse.transaction() as transaction:
                days = feeds.open_days
                counts, rules = load_quarantine(
                    transaction, feeds.landing, feeds.names, days.first, days.last
                )
                row_count, digest = transaction.digest(QUARANTINED_FEEDBACK)
                by_feed = dict(
                    transaction.connection.execute(
                        f"SELECT feed, count(*) FROM {QUARANTINED_FEEDBACK.name} GROUP BY feed"
                    ).fetchall()
                )
                reasons = dict(
                    transaction.connection.execute(
                        "SELECT reason, count(*) AS n FROM quarantined_feedback"
                        " GROUP BY reason ORDER BY n DESC, reason LIMIT 20"
                    ).fetchall()
                )
        except RuleViolationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        yield from rule_results(QUARANTINED_FEEDBACK, rules)
        shares = {
            ledger.feed: by_feed.get(ledger.feed, 0) / ledger.read_count
            for ledger in feeds.ledgers()
            if ledger.read_count
        }
        worst = max(shares.values(), default=0.0)
        yield dg.AssetCheckResult(
            passed=worst <= limit,
            severity=dg.AssetCheckSeverity.WARN,
            check_name=QUARANTINED_SHARE_CHECK,
            asset_key=QUARANTINED_FEEDBACK.name,
            metadata={"worst_share": worst, **{f"{f}_share": s for f, s in shares.items()}},
        )
        metadata: dict[str, Any] = {
            "dagster/row_count": row_count,
            "inserted": counts.inserted,
            "deleted": counts.deleted,
            "reasons": dg.MetadataValue.json(reasons),
        }
        yield dg.MaterializeResult(
            asset_key=QUARANTINED_FEEDBACK.name,
            metadata=metadata,
            data_version=dg.DataVersion(digest),
        )

    return quarantined_feedback
