"""Compares the scores of the active model with what people said: their labels and their ratings."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_platform.schemas import (
    ACTIVE_MODEL,
    SENTIMENT_CALIBRATION,
    SENTIMENT_CONFUSIONS,
    SENTIMENT_EVALUATION,
    Table,
)
from data_platform.sentiment.intervals import wilson_sql
from data_platform.storage.warehouse import RuleResult, Transaction

EVALUATION_TABLES = (SENTIMENT_EVALUATION, SENTIMENT_CALIBRATION, SENTIMENT_CONFUSIONS)
CLASSES = ("negative", "neutral", "positive")
MACRO = "macro"
ALL_LANGUAGES = "all"
NEGATIVE_UP_TO = 0.4
POSITIVE_FROM = 0.6

RESAMPLES = 1000
SEED = 1
INTERVAL = (0.025, 0.975)
BINS = 10  # of compound, -1 to 1
EXAMPLES = 3
DECIMALS = 6  # so that the last bits, which differ between processors, reach no digest

CONFUSION_SCHEMA = pa.schema(
    [
        ("feed", pa.string()),
        ("language", pa.string()),
        ("truth", pa.string()),
        ("true_label", pa.string()),
        ("predicted_label", pa.string()),
        ("post_count", pa.int64()),
    ]
)

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

_TRUTHS_SQL = f"""
CREATE OR REPLACE TEMP TABLE truths AS
SELECT feedback_id, content_hash, NULL AS scored_text_hash, 'label' AS truth, label AS true_label
FROM raw_feedback WHERE label IS NOT NULL AND is_current AND NOT is_deleted
UNION ALL
SELECT feedback_id, content_hash, NULL, 'rating',
    CASE WHEN rating <= {NEGATIVE_UP_TO} THEN 'negative'
         WHEN rating >= {POSITIVE_FROM} THEN 'positive' ELSE 'neutral' END
FROM raw_feedback WHERE rating IS NOT NULL AND is_current AND NOT is_deleted
UNION ALL
SELECT feedback_id, NULL, scored_text_hash, 'human', label FROM human_labels
"""
_COMPARED_SQL = """
CREATE OR REPLACE TEMP TABLE compared AS
SELECT c.feedback_id, c.feed, c.language, t.truth, t.true_label, s.label AS predicted_label,
    s.compound
FROM truths t
JOIN cleaned_feedback c ON c.feedback_id = t.feedback_id
 AND (c.content_hash = t.content_hash OR c.scored_text_hash = t.scored_text_hash)
JOIN current_sentiment s ON s.feedback_id = c.feedback_id
WHERE c.duplicate_of IS NULL
"""
_CONFUSION_SQL = """
SELECT feed, language, truth, true_label, predicted_label, count(*) AS post_count
FROM compared GROUP BY ALL
"""
_CALIBRATION_SQL = f"""
SELECT feed, truth, least(floor((compound + 1) * 5), {BINS - 1})::INTEGER AS bin,
    count(*) AS post_count,
    round(sum(CAST(compound AS DECIMAL(9, 4)))::DOUBLE / count(*), {DECIMALS}) AS mean_compound,
    count(*) FILTER (true_label = 'negative') AS negative_count,
    count(*) FILTER (true_label = 'positive') AS positive_count,
    {wilson_sql("negative_count", "post_count")},
    {wilson_sql("positive_count", "post_count", "positive")}
FROM compared GROUP BY feed, truth, bin
"""
_EXAMPLES_SQL = f"""
SELECT feed, truth, true_label, predicted_label, feedback_id, compound,
    row_number() OVER surest AS rank, count(*) OVER pair AS post_count
FROM compared WHERE true_label <> predicted_label
WINDOW pair AS (PARTITION BY feed, truth, true_label, predicted_label),
    surest AS (PARTITION BY feed, truth, true_label, predicted_label
               ORDER BY abs(compound) DESC, feedback_id)
QUALIFY rank <= {EXAMPLES}
"""


class Measures(NamedTuple):
    """Shares 0 to 1 of one or more confusion matrices; last axis: the classes, then macro.

    NaN where a share is not defined: precision of a class that was never predicted, recall of one
    that never occurs, F1 of one that does neither.
    """

    precision: Numbers
    recall: Numbers
    f1: Numbers


class Refreshed(NamedTuple):
    """The rows that a table holds now, and the rules that hold."""

    rows: pa.Table
    rules: tuple[RuleResult, ...]


def refresh_sentiment_evaluation(transaction: Transaction) -> dict[Table, Refreshed]:
    """Make the evaluation hold the active model against the labels and ratings there are now.

    Compared is every post that is not deleted, has a label or a rating in its current version and
    a current score, and copies no other post; a post with several counts in each evaluation. A
    rating (0 to 1) up to 0.4 is negative, from 0.6 on positive, in between neutral: of 1 to 5
    stars, 1 and 2 are negative, 3 is neutral, 4 and 5 are positive, as reviews are commonly
    read, and other scales are cut at the same distance from their middle. What a person judged
    here counts while the text is the one that was judged.

    Returns:
        sentiment_evaluation, sentiment_calibration and sentiment_confusions.

    Raises:
        RuleViolationError: a rule of a table does not hold; nothing must be committed.
    """
    model = transaction.connection.execute(
        f"SELECT model_fingerprint, model_name FROM {ACTIVE_MODEL.name}"
    ).fetchone()
    fingerprint, name = model or ("", "")  # without a model there are no current scores
    if not _compare(transaction):
        found = {table: table.arrow_schema.empty_table() for table in EVALUATION_TABLES}
    else:
        confusion = transaction.arrow(_CONFUSION_SQL).cast(CONFUSION_SCHEMA)
        found = {SENTIMENT_EVALUATION: evaluate(confusion, fingerprint, name)}
        for table, sql in (
            (SENTIMENT_CALIBRATION, _CALIBRATION_SQL),
            (SENTIMENT_CONFUSIONS, _EXAMPLES_SQL),
        ):
            named = f"SELECT *, ? AS model_fingerprint, ? AS model_name FROM ({sql})"
            rows = transaction.arrow(named, [fingerprint, name])
            found[table] = rows.select(table.column_names).cast(table.arrow_schema)
    return {table: _replace(transaction, table, rows) for table, rows in found.items()}


def _replace(transaction: Transaction, table: Table, rows: pa.Table) -> Refreshed:
    transaction.merge(table, rows, delete_where="TRUE")
    return Refreshed(rows, transaction.audit_all(table))


def evaluate(confusion: pa.Table, model_fingerprint: str, model_name: str) -> pa.Table:
    """Return the rows of sentiment_evaluation, ordered by key, classes before macro.

    Args:
        confusion: CONFUSION_SCHEMA, one row for each combination that occurs.
    """
    matrices: dict[tuple[str, str, str], Counts] = {}
    # A loop over rows: there are at most nine for each feed, language and truth.
    for row in confusion.to_pylist():
        cell = CLASSES.index(row["true_label"]), CLASSES.index(row["predicted_label"])
        for language in {row["language"], ALL_LANGUAGES}:
            key = (row["feed"], language, row["truth"])
            matrix = matrices.setdefault(key, np.zeros((3, 3), np.int64))
            matrix[cell] += row["post_count"]
    rows = [
        {
            "model_fingerprint": model_fingerprint,
            "model_name": model_name,
            "feed": feed,
            "language": language,
            "truth": truth,
            **result,
        }
        for (feed, language, truth), matrix in sorted(matrices.items(), key=lambda item: item[0])
        for result in _results(matrix)
    ]
    return pa.Table.from_pylist(rows, schema=SENTIMENT_EVALUATION.arrow_schema)


def measure(matrices: Counts) -> Measures:
    """Return precision, recall and F1 of 3 × 3 matrices of counts (…, true class, predicted class).

    F1 is 2 TP / (2 TP + FP + FN), which is 0 for a class that is only predicted or only true.
    Macro is the mean over the classes where the share is defined; for F1 that is the classes that
    occur in truth or predictions. scikit-learn's precision_recall_fscore_support does the same
    with average="macro", labels=None and zero_division=nan.
    """
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    true_count, predicted_count = matrices.sum(axis=-1), matrices.sum(axis=-2)
    return Measures(
        precision=_with_macro(hits, predicted_count),
        recall=_with_macro(hits, true_count),
        f1=_with_macro(2 * hits, true_count + predicted_count),
    )


def f1_intervals(matrix: Counts) -> Numbers:
    """Return the 95 % bootstrap interval (low, high) of the F1 of each class and of macro, NaN if it has none.

    Percentile method (Efron & Tibshirani 1993, An Introduction to the Bootstrap, 13.3). Drawing n
    posts with replacement from n posts and counting them again is one multinomial draw of the
    matrix's cells, so resampled matrices give exactly the non-parametric bootstrap of every number
    that follows from the matrix. A resample in which a class is absent has no F1 of that class and
    is left out of its interval. The same matrix always has the same intervals.
    """
    total, cells = int(matrix.sum()), np.flatnonzero(matrix)
    # RandomState, whose streams are frozen (NEP 19): an upgrade of NumPy changes no digest. Empty
    # cells stay out: their share of 0 could meet a remainder of rounding in the draw.
    draws = np.random.RandomState(SEED).multinomial(
        total, matrix.flat[cells] / total, size=RESAMPLES
    )
    resampled = np.zeros((RESAMPLES, matrix.size), np.int64)
    resampled[:, cells] = draws
    f1 = measure(resampled.reshape(RESAMPLES, *matrix.shape)).f1
    intervals = np.full((f1.shape[1], len(INTERVAL)), np.nan)
    for number, values in enumerate(f1.T):
        defined = values[~np.isnan(values)]
        if defined.size:
            intervals[number] = np.quantile(defined, INTERVAL)
    return intervals


def macro_rows(rows: pa.Table) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return of sentiment_evaluation the row of each (feed, truth) for all languages and classes."""
    return {
        (row["feed"], row["truth"]): row
        for row in rows.to_pylist()
        if row["language"] == ALL_LANGUAGES and row["label"] == MACRO
    }


def confusion_markdown(rows: pa.Table, feed: str, truth: str) -> str:
    """Return the confusion matrices of a feed as one Markdown table, each language by itself first."""
    found = [
        row
        for row in rows.to_pylist()
        if row["feed"] == feed and row["truth"] == truth and row["label"] != MACRO
    ]
    found.sort(key=lambda row: row["language"] == ALL_LANGUAGES)
    heads = [
        "language",
        truth,
        *(f"scored {name}" for name in CLASSES),
        "precision",
        "recall",
        "F1",
    ]
    lines = [heads, ["---"] * len(heads)]
    lines += [
        [
            row["language"],
            row["label"],
            *(str(row[f"predicted_{name}_count"]) for name in CLASSES),
            *(_shown(row[name]) for name in ("precision_share", "recall_share", "f1_share")),
        ]
        for row in found
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def prepare_truths(transaction: Transaction) -> None:
    """Make the temporary table `truths`: what people say of posts, a row for each way of saying it."""
    transaction.connection.execute(_TRUTHS_SQL)


def _compare(transaction: Transaction) -> bool:
    """Put the compared posts into the table `compared`; False if nobody judges any."""
    prepare_truths(transaction)
    # DuckDB would read the other tables for nothing: 0.6 s for a million posts without a label.
    if transaction.count("SELECT count(*) FROM truths") == 0:
        return False
    transaction.connection.execute(_COMPARED_SQL)
    return True


def _results(matrix: Counts) -> Iterable[dict[str, Any]]:
    """Yield for each class, then for macro, what sentiment_evaluation says beyond the key."""
    measures = measure(matrix)
    intervals = f1_intervals(matrix)
    cells = np.vstack([matrix, matrix.sum(axis=0)])  # macro: the sums of the columns
    total = int(matrix.sum())
    predicted_counts = [*matrix.sum(axis=0).tolist(), total]
    for number, label in enumerate((*CLASSES, MACRO)):
        yield {
            "label": label,
            "sample_count": total,
            "support_count": int(cells[number].sum()),
            "predicted_count": predicted_counts[number],
            "precision_share": _rounded(measures.precision[number]),
            "recall_share": _rounded(measures.recall[number]),
            "f1_share": _rounded(measures.f1[number]),
            "f1_low_share": _rounded(intervals[number, 0]),
            "f1_high_share": _rounded(intervals[number, 1]),
            **{
                f"predicted_{name}_count": int(count)
                for name, count in zip(CLASSES, cells[number], strict=True)
            },
        }


def _with_macro(part: Counts, whole: Counts) -> Numbers:
    """Divide, NaN where there is no whole, and append the mean of what is defined."""
    shares = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    defined_count = (whole > 0).sum(axis=-1, keepdims=True)
    total = np.nansum(shares, axis=-1, keepdims=True)
    mean = np.divide(
        total, defined_count, out=np.full(total.shape, np.nan), where=defined_count > 0
    )
    return np.concatenate([shares, mean], axis=-1)


def _rounded(share: float) -> float | None:
    return None if np.isnan(share) else round(float(share), DECIMALS)


def _shown(share: float | None) -> str:
    return "–" if share is None else f"{share:.3f}"
