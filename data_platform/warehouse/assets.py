"""The star schema as assets: the fact table and its dimensions, written in one transaction."""

from collections.abc import Iterator

import dagster as dg

from data_platform.partitions import backfill_policy
from data_platform.schemas import CLEANED_FEEDBACK, DIM_AUTHOR, DIM_DATE, DIM_FEED, FCT_FEEDBACK
from data_platform.storage.days import DaySpan
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    refresh_partitions,
    rule_specs,
    table_spec,
)
from data_platform.storage.warehouse import DayWrite
from data_platform.warehouse.star import INPUTS, refresh_star

GROUP = "warehouse"
STAR = (FCT_FEEDBACK, DIM_FEED, DIM_AUTHOR, DIM_DATE)
FURTHER_RULES = {
    FCT_FEEDBACK.name: {
        "every_cleaned_post_is_a_fact": "fct_feedback and cleaned_feedback hold the same posts."
    }
}


def warehouse_assets(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """Return fct_feedback and the dimensions as one multi-asset."""

    @dg.multi_asset(
        name="star_schema",
        specs=[
            table_spec(table, group=GROUP, deps=INPUTS, partitions=partitions) for table in STAR
        ],
        check_specs=[
            spec for table in STAR for spec in rule_specs(table, FURTHER_RULES.get(table.name))
        ],
        backfill_policy=backfill_policy(),
    )
    def star_schema(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[StageEvent]:
        def refresh(days: DaySpan) -> list[DayWrite]:
            with warehouse.warehouse.transaction() as transaction:
                return refresh_star(transaction, days)

        yield from refresh_partitions(
            context,
            warehouse.warehouse,
            STAR,
            refresh,
            lambda days: warehouse.warehouse.row_counts(CLEANED_FEEDBACK, days),
            FURTHER_RULES,
        )

    return [star_schema]
