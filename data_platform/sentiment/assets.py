"""sentiment_scores as an asset, with its checks."""

from collections.abc import Iterator

import dagster as dg

from data_platform.partitions import backfill_policy
from data_platform.schemas import CLEANED_FEEDBACK, SENTIMENT_SCORES
from data_platform.sentiment.scoring import Scoring
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    refresh_partitions,
    rule_specs,
    table_spec,
)

GROUP = "sentiment"
FURTHER_RULES = {
    "every_scorable_text_has_one_score": (
        "Every current text in a language that the model can score has exactly one current score."
    )
}


def sentiment_assets(
    scoring: Scoring, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """Return the asset sentiment_scores."""

    @dg.multi_asset(
        name=SENTIMENT_SCORES.name,
        specs=[
            table_spec(
                SENTIMENT_SCORES,
                group=GROUP,
                deps=[CLEANED_FEEDBACK.name],
                partitions=partitions,
                code_version=scoring.model.identity.fingerprint[:12],
                kinds=frozenset({"duckdb", "nltk"}),
            )
        ],
        check_specs=rule_specs(SENTIMENT_SCORES, FURTHER_RULES),
        backfill_policy=backfill_policy(),
    )
    def sentiment_scores(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[StageEvent]:
        yield from refresh_partitions(
            context,
            warehouse.warehouse,
            [SENTIMENT_SCORES],
            lambda day: scoring.refresh_day(warehouse.warehouse, day),
            {SENTIMENT_SCORES.name: FURTHER_RULES},
        )

    return [sentiment_scores]
