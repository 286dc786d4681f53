"""cleaned_feedback as an asset, with its checks."""

from collections.abc import Iterator, Sequence

import dagster as dg

from data_platform.alert_settings import AlertOptions
from data_platform.cleaning.refresh import CLEANING_VERSION, INPUTS, Cleaning
from data_platform.partitions import backfill_policy
from data_platform.schemas import CLEANED_FEEDBACK, RAW_FEEDBACK
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    judged_days,
    refresh_partitions,
    rule_specs,
    table_spec,
)
from data_platform.storage.warehouse import DayWrite

GROUP = "cleaning"
JUDGED_FROM_POSTS = 30
FURTHER_RULES = {
    "every_current_post_is_cleaned": "Holds exactly the current posts of raw_feedback that are not deleted."
}


def cleaning_assets(
    cleaning: Cleaning, alerts: AlertOptions, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """Return the asset cleaned_feedback."""
    limits = {
        "duplicate_share_is_low": ("duplicates", alerts.duplicate_share),
        "unknown_language_share_is_low": ("unknown_language", alerts.unknown_language_share),
    }

    def judge(writes: Sequence[DayWrite]) -> list[dg.AssetCheckResult]:
        return [
            _share_check(name, number, limit, writes) for name, (number, limit) in limits.items()
        ]

    @dg.multi_asset(
        name=CLEANED_FEEDBACK.name,
        specs=[
            table_spec(
                CLEANED_FEEDBACK,
                group=GROUP,
                deps=INPUTS,
                partitions=partitions,
                code_version=CLEANING_VERSION,
                kinds=frozenset({"duckdb", "arrow"}),
            )
        ],
        check_specs=[
            *rule_specs(CLEANED_FEEDBACK, FURTHER_RULES),
            *(
                dg.AssetCheckSpec(
                    name,
                    asset=CLEANED_FEEDBACK.name,
                    description=(
                        f"At most {limit:.0%} of the posts of each refreshed day with"
                        f" {JUDGED_FROM_POSTS} posts or more ({number})."
                    ),
                )
                for name, (number, limit) in limits.items()
            ),
        ],
        backfill_policy=backfill_policy(),
    )
    def cleaned_feedback(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[StageEvent]:
        yield from refresh_partitions(
            context,
            warehouse.warehouse,
            [CLEANED_FEEDBACK],
            lambda days: cleaning.refresh_days(warehouse.warehouse, days),
            lambda days: warehouse.warehouse.text_weights(RAW_FEEDBACK, days, "body"),
            {CLEANED_FEEDBACK.name: FURTHER_RULES},
            judge,
        )

    return [cleaned_feedback]


def _share_check(
    name: str, number: str, limit: float, writes: Sequence[DayWrite]
) -> dg.AssetCheckResult:
    """Compare a share of each day's posts with its limit; small days say nothing."""
    shares = {
        write.day: (write.numbers or {}).get(number, 0) / write.row_count
        for write in writes
        if write.row_count >= JUDGED_FROM_POSTS
    }
    failing = [day for day, share in shares.items() if share > limit]
    return dg.AssetCheckResult(
        passed=not failing,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=name,
        asset_key=CLEANED_FEEDBACK.name,
        metadata={
            "highest_share": max(shares.values(), default=0.0),
            "limit": limit,
            "days_compared": len(shares),
            **judged_days([write.day for write in writes], failing),
        },
    )
