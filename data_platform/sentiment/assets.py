"""sentiment_scores and sentiment_evaluation as assets, with their checks."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from data_platform.errors import DataPlatformError
from data_platform.partitions import backfill_policy
from data_platform.schemas import (
    CLEANED_FEEDBACK,
    RAW_FEEDBACK,
    SENTIMENT_EVALUATION,
    SENTIMENT_SCORES,
)
from data_platform.sentiment.evaluation import (
    confusion_markdown,
    macro_rows,
    refresh_sentiment_evaluation,
)
from data_platform.sentiment.scoring import Scoring
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    fail_step,
    lineage_metadata,
    refresh_partitions,
    rule_results,
    rule_specs,
    table_spec,
)

GROUP = "sentiment"
FURTHER_RULES = {
    "every_scorable_text_has_one_score": (
        "Every current text in a language that the model can score has exactly one current score."
    )
}
F1_CHECK = "macro_f1_is_high_enough"
FEWEST_POSTS = 100


def sentiment_assets(
    scoring: Scoring, macro_f1_limit: float, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """Return sentiment_scores and sentiment_evaluation."""

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
            lambda days: scoring.refresh_days(warehouse.warehouse, days),
            lambda days: warehouse.warehouse.text_weights(CLEANED_FEEDBACK, days, "body_clean"),
            {SENTIMENT_SCORES.name: FURTHER_RULES},
        )

    @dg.multi_asset(
        name=SENTIMENT_EVALUATION.name,
        specs=[
            table_spec(
                SENTIMENT_EVALUATION,
                group=GROUP,
                deps=[RAW_FEEDBACK.name, CLEANED_FEEDBACK.name, SENTIMENT_SCORES.name],
                partitions=None,
                kinds=frozenset({"duckdb", "numpy"}),
            )
        ],
        check_specs=[
            *rule_specs(SENTIMENT_EVALUATION),
            dg.AssetCheckSpec(
                F1_CHECK,
                asset=SENTIMENT_EVALUATION.name,
                description=(
                    f"Every feed with at least {FEWEST_POSTS} labelled or rated posts has a"
                    f" macro-F1 of at least {macro_f1_limit:g}."
                ),
            ),
        ],
    )
    def sentiment_evaluation(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        try:
            with warehouse.warehouse.transaction() as transaction:
                rows, rules = refresh_sentiment_evaluation(transaction)
                row_count, digest = transaction.digest(SENTIMENT_EVALUATION)
        except DataPlatformError as error:
            yield from fail_step(warehouse.warehouse, error)
            return
        yield from rule_results(SENTIMENT_EVALUATION, rules)
        overall = macro_rows(rows)
        yield _f1_check(overall, macro_f1_limit)
        metadata: dict[str, Any] = {
            "dagster/row_count": row_count,
            **lineage_metadata(SENTIMENT_EVALUATION),
        }
        for (feed, truth), row in overall.items():
            metadata[f"{feed}_{truth}_macro_f1"] = row["f1_share"]
            metadata[f"{feed}_{truth}_sample_count"] = row["sample_count"]
            metadata[f"{feed}_{truth}_confusion"] = dg.MetadataValue.md(
                confusion_markdown(rows, feed, truth)
            )
        yield dg.MaterializeResult(
            asset_key=SENTIMENT_EVALUATION.name,
            metadata=metadata,
            data_version=dg.DataVersion(digest),
        )

    return [sentiment_scores, sentiment_evaluation]


def _f1_check(
    overall: Mapping[tuple[str, str], Mapping[str, Any]], limit: float
) -> dg.AssetCheckResult:
    """Compare the macro-F1 of each feed and truth with the limit, where there are enough posts."""
    f1 = {f"{feed}_{truth}": row["f1_share"] for (feed, truth), row in overall.items()}
    judged = {
        f"{feed}_{truth}": row["f1_share"]
        for (feed, truth), row in overall.items()
        if row["sample_count"] >= FEWEST_POSTS
    }
    low = sorted(place for place, share in judged.items() if share < limit)
    metadata: dict[str, Any] = {
        "limit": limit,
        "evaluations_judged": len(judged),
        "below_limit": ", ".join(low[:20]),
        **{f"{place}_macro_f1": share for place, share in f1.items()},
    }
    if judged:
        metadata["lowest_macro_f1"] = min(judged.values())
    return dg.AssetCheckResult(
        passed=not low,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=F1_CHECK,
        asset_key=SENTIMENT_EVALUATION.name,
        metadata=metadata,
    )
