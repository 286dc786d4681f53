"""sentiment_scores, their evaluation and the comparison of models as assets, with their checks."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

from data_platform.errors import DataPlatformError
from data_platform.partitions import backfill_policy
from data_platform.schemas import (
    CLEANED_FEEDBACK,
    MODEL_COMPARISON,
    RAW_FEEDBACK,
    SENTIMENT_CALIBRATION,
    SENTIMENT_EVALUATION,
    SENTIMENT_SCORES,
    Table,
)
from data_platform.sentiment.calibration import calibration_plot
from data_platform.sentiment.comparison import active_fingerprint, refresh_model_comparison
from data_platform.sentiment.evaluation import (
    EVALUATION_TABLES,
    confusion_markdown,
    macro_rows,
    refresh_sentiment_evaluation,
)
from data_platform.sentiment.scoring import Scoring
from data_platform.storage.resources import (
    StageEvent,
    WarehouseResource,
    fail_whole,
    refresh_partitions,
    rule_specs,
    rules_result,
    rules_spec,
    table_result,
    table_spec,
)

GROUP = "sentiment"
FURTHER_RULES = {
    "every_scorable_text_has_one_score": (
        "Every current text in a language that the model can score has exactly one current score."
    )
}
F1_CHECK = "macro_f1_is_high_enough"
MODEL_CHECK = "the_configured_model_is_current"
FEWEST_POSTS = 100
EVALUATED = (*EVALUATION_TABLES, MODEL_COMPARISON)


def sentiment_assets(
    scoring: Scoring, macro_f1_limit: float, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """Return sentiment_scores, and what says how far to trust them."""

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
                table,
                group=GROUP,
                deps=[RAW_FEEDBACK.name, CLEANED_FEEDBACK.name, SENTIMENT_SCORES.name],
                partitions=None,
                kinds=frozenset({"duckdb", "numpy"}),
            )
            for table in EVALUATED
        ],
        check_specs=[
            *(rules_spec(table) for table in EVALUATED),
            dg.AssetCheckSpec(
                F1_CHECK,
                asset=SENTIMENT_EVALUATION.name,
                description=(
                    f"Every feed with at least {FEWEST_POSTS} labelled or rated posts has a"
                    f" macro-F1 of at least {macro_f1_limit:g}."
                ),
            ),
            dg.AssetCheckSpec(
                MODEL_CHECK,
                asset=MODEL_COMPARISON.name,
                description="The configured model is the one whose scores are current.",
            ),
        ],
    )
    def sentiment_evaluation(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        try:
            with warehouse.warehouse.transaction() as transaction:
                found = refresh_sentiment_evaluation(transaction)
                found[MODEL_COMPARISON] = refresh_model_comparison(
                    transaction, scoring.model.identity
                )
                active = active_fingerprint(transaction)
                digests = {table: transaction.digest(table) for table in found}
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        for table, refreshed in found.items():
            yield rules_result(table, refreshed.rules)
        rows = found[SENTIMENT_EVALUATION].rows
        overall = macro_rows(rows)
        yield _f1_check(overall, macro_f1_limit)
        yield _model_check(found[MODEL_COMPARISON].rows, scoring, active)
        numbers: dict[Table, dict[str, Any]] = {SENTIMENT_EVALUATION: {}, SENTIMENT_CALIBRATION: {}}
        for (feed, truth), row in overall.items():
            numbers[SENTIMENT_EVALUATION] |= {
                f"{feed}_{truth}_macro_f1": row["f1_share"],
                f"{feed}_{truth}_sample_count": row["sample_count"],
                f"{feed}_{truth}_confusion": dg.MetadataValue.md(
                    confusion_markdown(rows, feed, truth)
                ),
            }
        if calibrated := found[SENTIMENT_CALIBRATION].rows:
            svg = base64.b64encode(calibration_plot(calibrated).encode()).decode()
            numbers[SENTIMENT_CALIBRATION]["calibration"] = dg.MetadataValue.md(
                f"![what people say by score](data:image/svg+xml;base64,{svg})"
            )
        for table, (row_count, digest) in digests.items():
            yield table_result(table, row_count, digest, numbers.get(table))

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


def _model_check(rows: pa.Table, scoring: Scoring, active: str | None) -> dg.AssetCheckResult:
    """Say whether a new model waits, and how its labels differ from those that are current."""
    waits = active is not None and active != scoring.model.identity.fingerprint
    found = [row for row in rows.to_pylist() if not waits or row["former_fingerprint"] == active]
    return dg.AssetCheckResult(
        passed=not waits,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=MODEL_CHECK,
        asset_key=MODEL_COMPARISON.name,
        metadata={
            "models_compared": len({row["former_fingerprint"] for row in found}),
            "advice": "data-platform models shows the difference" if waits else "",
            **{f"{row['feed']}_agreement_share": row["agreement_share"] for row in found},
        },
    )
