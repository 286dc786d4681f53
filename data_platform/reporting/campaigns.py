"""Folds posts whose texts are nearly the same into campaigns."""

from datetime import date, timedelta
from itertools import pairwise

import pyarrow as pa
from rensa import RMinHash, RMinHashLSH

from data_platform.cleaning.duplicates import fold_words
from data_platform.schemas import CAMPAIGNS
from data_platform.storage.days import day_bounds
from data_platform.storage.warehouse import RuleResult, Transaction

WINDOW_DAYS = 28
FEWEST_POSTS = 5
FEWEST_WORDS = 5
# Texts with most copies first, then others at random: a campaign has many texts in any sample.
COMPARED_TEXTS = 20_000
LEAST_SIMILARITY = 0.6  # Jaccard similarity of the two-word phrases of two texts
HASHES, BANDS, SEED = 128, 32, 42


def read_texts(transaction: Transaction, last_day: date) -> pa.Table:
    """Return feedback_id and body_clean of the posts to compare, the earliest first."""
    since = day_bounds(last_day - timedelta(days=WINDOW_DAYS - 1))[0]
    return transaction.arrow(
        f"""
        WITH recent AS (
            SELECT feedback_id, posted_at, duplicate_of FROM cleaned_feedback
            WHERE posted_at >= ? AND word_count >= {FEWEST_WORDS}
        ), copies AS (
            SELECT duplicate_of AS feedback_id, count(*) AS copy_count FROM recent
            WHERE duplicate_of IS NOT NULL GROUP BY duplicate_of
        ), chosen AS (
            SELECT feedback_id FROM recent LEFT JOIN copies USING (feedback_id)
            WHERE duplicate_of IS NULL
            ORDER BY copy_count DESC NULLS LAST, hash(feedback_id) LIMIT {COMPARED_TEXTS}
        )
        SELECT feedback_id, body_clean FROM cleaned_feedback SEMI JOIN chosen USING (feedback_id)
        WHERE posted_at >= ? ORDER BY posted_at, feedback_id
        """,
        [since, since],
    )


def fold_texts(texts: pa.Table) -> pa.Table:
    """Return for each row of `texts` which earlier one it is nearly the same as.

    Args:
        texts: feedback_id (unique) and body_clean, the earliest first.

    Returns:
        feedback_id, campaign_id (feedback_id of the text that it is nearly the same as; its own
        where there is none) and words (the folded text), in the same order.
    """
    ids: list[str] = texts["feedback_id"].to_pylist()
    words: list[str] = fold_words(texts["body_clean"].combine_chunks()).to_pylist()
    # One text at a time: each is compared with the first texts of the campaigns so far.
    first_of: dict[str, int] = {}
    phrases = [_phrases(text) for text in words]
    hashes = RMinHash.from_token_sets([sorted(found) for found in phrases], HASHES, SEED)
    index = RMinHashLSH(LEAST_SIMILARITY, HASHES, BANDS)
    leaders: list[int] = []
    for number, text in enumerate(words):
        leader = first_of.get(text)
        if leader is None:
            similar = [
                c
                for c in index.query(hashes[number])
                if _similarity(phrases[number], phrases[c]) >= LEAST_SIMILARITY
            ]
            leader = min(similar, default=number)
            if leader == number:
                index.insert(number, hashes[number])
            first_of[text] = leader
        leaders.append(leader)
    return pa.table(
        {
            "feedback_id": ids,
            "campaign_id": [ids[leader] for leader in leaders],
            "words": words,
        },
        schema=pa.schema([(n, pa.string()) for n in ("feedback_id", "campaign_id", "words")]),
    )


def refresh_campaigns(
    transaction: Transaction, folded: pa.Table, last_day: date
) -> tuple[RuleResult, ...]:
    """Make campaigns hold the groups of `folded` (of `fold_texts`) that are large enough."""
    since = day_bounds(last_day - timedelta(days=WINDOW_DAYS - 1))[0]
    transaction.connection.register("folded", folded)
    transaction.connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE found_campaigns AS
        WITH members AS (
            SELECT f.campaign_id, f.words, c.feedback_id, c.feed, c.posted_at, c.language
            FROM cleaned_feedback c JOIN folded f ON f.feedback_id = coalesce(c.duplicate_of, c.feedback_id)
            WHERE c.posted_at >= $since
        ), large AS (
            SELECT campaign_id FROM members GROUP BY campaign_id HAVING count(*) >= {FEWEST_POSTS}
        )
        SELECT campaign_id, count(DISTINCT m.feed)::INTEGER AS feed_count,
            first(m.language ORDER BY m.feedback_id <> campaign_id, m.posted_at, m.feedback_id)
                AS language,
            min(m.posted_at) AS first_posted_at, max(m.posted_at) AS last_posted_at,
            count(*) AS post_count, count(DISTINCT f.author_id) AS author_count,
            count(DISTINCT m.words) AS text_count,
            round((count(*) FILTER (s.label = 'positive') - count(*) FILTER (s.label = 'negative'))
                / nullif(count(s.label), 0), 6) AS net_sentiment_share
        FROM members m SEMI JOIN large USING (campaign_id)
        LEFT JOIN fct_feedback f ON f.feedback_id = m.feedback_id AND f.posted_at >= $since
        LEFT JOIN current_sentiment s ON s.feedback_id = m.feedback_id AND s.posted_at >= $since
        GROUP BY campaign_id
        """,
        {"since": since},
    )
    transaction.merge(CAMPAIGNS, "found_campaigns", delete_where="TRUE")
    return transaction.audit_all(CAMPAIGNS)


def _phrases(words: str) -> set[str]:
    found = words.split(" ")
    return {f"{a} {b}" for a, b in pairwise(found)} or {words}


def _similarity(one: set[str], other: set[str]) -> float:
    """Return the Jaccard similarity, 0 to 1."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)
