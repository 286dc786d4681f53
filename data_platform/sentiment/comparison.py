"""Which model is the current one, and how its scores differ from those of former models on the same texts."""

from datetime import datetime, timedelta

from data_platform.errors import ConfigurationError
from data_platform.schemas import ACTIVE_MODEL, MODEL_COMPARISON
from data_platform.sentiment.evaluation import Refreshed, prepare_truths
from data_platform.sentiment.models import ModelIdentity
from data_platform.storage.warehouse import Transaction

COMPARED_DAYS = 90
DECIMALS = 6  # so that the last bits, which differ between processors, reach no digest

_SUMMARY = """
SELECT model_fingerprint, any_value(model_name) AS model_name,
    any_value(model_version) AS model_version, count(*) AS score_count,
    min(scored_at) AS first_scored_at, max(scored_at) AS last_scored_at,
    model_fingerprint = (SELECT model_fingerprint FROM active_model) AS is_active
FROM sentiment_scores GROUP BY model_fingerprint ORDER BY last_scored_at DESC, model_fingerprint
"""
_COMPARISON = """
WITH scored AS (
    SELECT c.feed, s.*, t.true_label FROM sentiment_scores s
    JOIN cleaned_feedback c ON c.feedback_id = s.feedback_id AND c.posted_at = s.posted_at
     AND c.scored_text_hash = s.scored_text_hash
    LEFT JOIN (SELECT feedback_id, min(true_label) AS true_label FROM truths GROUP BY feedback_id
               HAVING count(DISTINCT true_label) = 1) t ON t.feedback_id = s.feedback_id
    WHERE s.posted_at >= $first AND c.duplicate_of IS NULL
)
SELECT n.feed, f.model_fingerprint AS former_fingerprint,
    any_value(f.model_version) AS former_version, $fingerprint AS model_fingerprint,
    $version AS model_version, $is_active AS is_active, count(*) AS post_count,
    {}
FROM scored n JOIN scored f USING (feedback_id, scored_text_hash)
WHERE n.model_fingerprint = $fingerprint AND f.model_fingerprint <> $fingerprint
GROUP BY n.feed, f.model_fingerprint
""".format(
    ", ".join(
        f"round({value}, {DECIMALS}) AS {name}"
        for name, value in {
            "agreement_share": "avg((n.label = f.label)::INTEGER)",
            "mean_difference": "sum(CAST(n.compound - f.compound AS DECIMAL(9, 4)))::DOUBLE / count(*)",
            "mean_absolute_difference": (
                "sum(CAST(abs(n.compound - f.compound) AS DECIMAL(9, 4)))::DOUBLE / count(*)"
            ),
            "former_negative_share": "avg((f.label = 'negative')::INTEGER)",
            "negative_share": "avg((n.label = 'negative')::INTEGER)",
            "former_right_share": "avg((f.label = n.true_label)::INTEGER)",
            "right_share": "avg((n.label = n.true_label)::INTEGER)",
        }.items()
    )
    + ", count(n.true_label) AS judged_count"
)


def refresh_model_comparison(transaction: Transaction, latest: ModelIdentity) -> Refreshed:
    """Make model_comparison hold the latest model against every other that scored the same texts.

    Copies are left out. What people say counts where they agree (a label, a rating, a verdict).

    Args:
        latest: the configured model, current or not yet.
    """
    connection = transaction.connection
    rows = MODEL_COMPARISON.arrow_schema.empty_table()
    models = transaction.count("SELECT count(DISTINCT model_fingerprint) FROM sentiment_scores")
    if models > 1:
        prepare_truths(transaction)
        ((last,),) = connection.execute("SELECT max(posted_at) FROM sentiment_scores").fetchall()
        parameters = {
            "first": last - timedelta(days=COMPARED_DAYS),
            "fingerprint": latest.fingerprint,
            "version": latest.version,
            "is_active": active_fingerprint(transaction) == latest.fingerprint,
        }
        found = connection.execute(_COMPARISON, parameters).to_arrow_table()
        rows = found.select(MODEL_COMPARISON.column_names).cast(MODEL_COMPARISON.arrow_schema)
    transaction.merge(MODEL_COMPARISON, rows, delete_where="TRUE")
    return Refreshed(rows, transaction.audit_all(MODEL_COMPARISON))


def active_fingerprint(transaction: Transaction) -> str | None:
    """Return the fingerprint of the model whose scores are current; None: nothing was scored yet."""
    row = transaction.connection.execute(
        f"SELECT model_fingerprint FROM {ACTIVE_MODEL.name}"
    ).fetchone()
    return row[0] if row else None


def read_models(transaction: Transaction) -> list[dict[str, object]]:
    """Return the models that have scored, the latest first: name, version, scores, times, is_active."""
    rows: list[dict[str, object]] = transaction.arrow(_SUMMARY).to_pylist()
    return rows


def activate_model(transaction: Transaction, fingerprint: str) -> ModelIdentity:
    """Make the scores of a model the current ones; marts of all days are out of date then.

    Args:
        fingerprint: its first characters are enough.

    Raises:
        ConfigurationError: none or several models that have scored begin so.
    """
    found = [
        m for m in read_models(transaction) if str(m["model_fingerprint"]).startswith(fingerprint)
    ]
    if len(found) != 1:
        count = "No model" if not found else f"{len(found)} models"
        message = (
            f"{count} that has scored begins with {fingerprint!r}. data-platform models lists them."
        )
        raise ConfigurationError(message)
    identity = ModelIdentity(
        *(str(found[0][name]) for name in ("model_name", "model_version", "model_fingerprint"))
    )
    set_active_model(transaction, identity)
    return identity


def set_active_model(transaction: Transaction, identity: ModelIdentity) -> None:
    """Write which model's scores are current."""
    transaction.connection.execute(f"DELETE FROM {ACTIVE_MODEL.name}")
    transaction.connection.execute(
        f"INSERT INTO {ACTIVE_MODEL.name} BY NAME"
        " SELECT ? AS model_fingerprint, ? AS model_name, ? AS model_version",
        [identity.fingerprint, identity.name, identity.version],
    )


def is_scored_by(
    transaction: Transaction, fingerprint: str, languages: list[str], first: datetime
) -> bool:
    """True if every current text from `first` on in these languages has a score by that model."""
    return not transaction.count(
        """
        SELECT count(*) FROM (
            SELECT 1 FROM cleaned_feedback c WHERE c.posted_at >= ? AND list_contains(?, c.language)
            AND NOT EXISTS (
                SELECT 1 FROM sentiment_scores s WHERE s.feedback_id = c.feedback_id
                AND s.posted_at = c.posted_at AND s.scored_text_hash = c.scored_text_hash
                AND s.model_fingerprint = ?)
            LIMIT 1)
        """,
        [first, languages, fingerprint],
    )
