"""Chooses the posts that a person is asked to judge, and keeps what the person says."""

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from data_platform.schemas import HUMAN_LABELS
from data_platform.sentiment.vader import POSITIVE_FROM
from data_platform.storage.warehouse import Transaction

UNCERTAIN, RANDOM = "uncertain", "random"
FEWEST_CHARACTERS = 3

# In each stratum (feed and label by the model) uncertain and random posts take turns; strata do too.
_SAMPLE = f"""
WITH candidates AS (
    SELECT c.feedback_id, c.scored_text_hash, c.feed, c.language, c.posted_at, c.body_clean,
        s.label, s.compound, abs(abs(s.compound) - {POSITIVE_FROM}) AS distance,
        md5($seed || c.feedback_id) AS lot
    FROM cleaned_feedback c JOIN current_sentiment s ON s.feedback_id = c.feedback_id
    WHERE c.duplicate_of IS NULL AND length(c.body_clean) >= {FEWEST_CHARACTERS}
      AND ($feed IS NULL OR c.feed = $feed) AND ($language IS NULL OR c.language = $language)
      AND NOT EXISTS (FROM human_labels h WHERE h.feedback_id = c.feedback_id
                      AND h.scored_text_hash = c.scored_text_hash)
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY feed, label ORDER BY distance, lot) AS by_doubt,
        row_number() OVER (PARTITION BY feed, label ORDER BY lot) AS by_lot
    FROM candidates
), chosen AS (
    SELECT *, CASE WHEN by_doubt <= by_lot THEN '{UNCERTAIN}' ELSE '{RANDOM}' END AS selection,
        CASE WHEN by_doubt <= by_lot THEN 2 * by_doubt - 1 ELSE 2 * by_lot END AS turn
    FROM ranked
)
SELECT feedback_id, scored_text_hash, feed, language, posted_at, body_clean, label, compound, selection
FROM chosen ORDER BY turn, lot LIMIT $count
"""


def posts_to_label(
    transaction: Transaction,
    count: int,
    *,
    seed: str,
    feed: str | None = None,
    language: str | None = None,
) -> pa.Table:
    """Return up to `count` scored posts that nobody has judged yet, in the order to be shown.

    Stratified by feed and by the model's label, so that rare classes are judged too; in each
    stratum posts whose score is nearest to the border of two classes take turns with posts drawn
    by lot, the uncertain one first. Columns: feedback_id, scored_text_hash, feed, language,
    posted_at, body_clean, label, compound, selection ('uncertain' or 'random').

    Args:
        seed: another seed draws other lots.
    """
    parameters = {"seed": seed, "feed": feed, "language": language, "count": count}
    return transaction.connection.execute(_SAMPLE, parameters).to_arrow_table()


def keep_label(
    transaction: Transaction,
    feedback_id: str,
    scored_text_hash: str,
    label: str,
    selection: str,
    at: datetime,
) -> None:
    """Keep what a person says of a text; of one that was judged before, the last word counts."""
    row = {
        "feedback_id": feedback_id,
        "scored_text_hash": scored_text_hash,
        "label": label,
        "selection": selection,
        "labelled_at": at,
    }
    judged = pa.Table.from_pylist([row], schema=HUMAN_LABELS.arrow_schema)
    transaction.merge(HUMAN_LABELS, judged, delete_where=None)
    transaction.audit_all(HUMAN_LABELS)


def forget_labels(transaction: Transaction, feedback_ids: Sequence[str]) -> None:
    """Take back what was said of posts."""
    transaction.connection.execute(
        f"DELETE FROM {HUMAN_LABELS.name} WHERE list_contains(?, feedback_id)", [list(feedback_ids)]
    )
