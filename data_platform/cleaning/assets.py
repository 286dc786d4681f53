"""cleaned_feedback as an asset, with its checks."""

from collections.abc import Iterator, Sequence

import dagster as dg

from data_platform.cleaning.refresh import CLEANING_VERSION, INPUTS, Cleaning
from data_platform.partitions import backfill_policy
from data_platform.schemas import CLEANED_FEEDBACK
from data_platform.settings import AlertOptions
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    refresh_partitions,
    rule_specs,
    table_spec,
)
from data_platform.storage.warehouse import DayWrite

GROUP = "cleaning"
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
                    description=f"At most {limit:.0%} of the posts of the refreshed days ({number}).",
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
            lambda day: cleaning.refresh_day(warehouse.warehouse, day),
            {CLEANED_FEEDBACK.name: FURTHER_RULES},
            judge,
        )

    return [cleaned_feedback]


def _share_check(
    name: str, number: str, limit: float, writes: Sequence[DayWrite]
) -> dg.AssetCheckResult:
    """Compare a share of the refreshed days' posts with its limit; the worst day is named."""
    posts = sum(write.row_count for write in writes)
    found = sum((write.numbers or {}).get(number, 0) for write in writes)
    share = found / posts if posts else 0.0
    filled = [write for write in writes if write.row_count]
    worst = max(filled, key=lambda w: (w.numbers or {}).get(number, 0) / w.row_count, default=None)
    return dg.AssetCheckResult(
        passed=share <= limit,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=name,
        asset_key=CLEANED_FEEDBACK.name,
        metadata={
            "share": share,
            "limit": limit,
            "posts": posts,
            "days": len(writes),
            "worst_day": worst.day.isoformat() if worst else "",
        },
    )
