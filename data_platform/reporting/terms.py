"""Finds the words and phrases that more posts hold than before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from data_platform.cleaning.privacy import PLACEHOLDER
from data_platform.schemas import RISING_TERMS
from data_platform.storage.days import day_bounds
from data_platform.storage.warehouse import RuleResult, Transaction

PERIOD_DAYS = 7
BASELINE_DAYS = 28
LATEST_INCIDENTS = 20
# Enough for a share of 1 % to be told from one of 2 %, and little enough for any volume.
SAMPLED_POSTS = 2_000
FEWEST_POSTS = 5  # that hold a term
LEAST_SCORE = 3.0
LEAST_RATIO = 1.5  # of the shares: what is common anyway (the, and) does not rise so much
RANKS = 15
PRIOR_POSTS = 20.0
SAME_POSTS = 0.8  # of a word's posts that hold a phrase with it: the phrase stands for the word


@dataclass(frozen=True)
class Period:
    """Days that are compared with the 28 days before them; `feed` None: every feed by itself."""

    first: date
    last: date
    feed: str | None = None


def refresh_rising_terms(transaction: Transaction, last_day: date) -> tuple[RuleResult, ...]:
    """Make rising_terms hold the seven days that end with `last_day`, and the latest incidents.

    Args:
        last_day: day of the latest post (UTC).
    """
    incidents = transaction.connection.execute(
        f"""
        SELECT DISTINCT first_date, last_date, feed FROM incidents WHERE direction = 'up'
        ORDER BY last_date DESC, first_date, feed LIMIT {LATEST_INCIDENTS}
        """
    ).fetchall()
    latest = Period(last_day - timedelta(days=PERIOD_DAYS - 1), last_day)
    periods = [latest, *(Period(*row) for row in incidents)]
    transaction.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE terms AS SELECT * FROM {RISING_TERMS.name} LIMIT 0"
    )
    for period in periods:
        _add_terms(transaction, period)
    transaction.merge(RISING_TERMS, "(SELECT DISTINCT * FROM terms)", delete_where="TRUE")
    return transaction.audit_all(RISING_TERMS)


def _add_terms(transaction: Transaction, period: Period) -> None:
    """Add the terms of a period to the temporary table `terms`.

    The score is the log-odds ratio with an informative Dirichlet prior, over its standard
    deviation (Monroe, Colaresi and Quinn 2008, Fightin' Words, Political Analysis 16:372, eq. 16
    to 22), with posts in place of words: a post holds a term or does not. The prior is worth
    `PRIOR_POSTS` posts that hold each term as often as period and baseline together do.
    """
    since = day_bounds(period.first - timedelta(days=BASELINE_DAYS))[0]
    begin, until = day_bounds(period.first)[0], day_bounds(period.last)[1]
    columns: Sequence[str] = RISING_TERMS.column_names
    transaction.connection.execute(
        f"""
        INSERT INTO terms
        WITH sampled AS (
            SELECT feedback_id, feed, language, posted_at >= $begin AS is_now,
                regexp_extract_all(lower(regexp_replace(body_clean, '{PLACEHOLDER}', ' ', 'g')),
                    '[\\p{{L}}\\p{{N}}][\\p{{L}}\\p{{M}}\\p{{N}}''’]*')
                    AS words
            FROM cleaned_feedback
            WHERE posted_at >= $since AND posted_at < $until AND duplicate_of IS NULL
                AND word_count > 0 AND ($feed IS NULL OR feed = $feed)
            QUALIFY row_number() OVER (PARTITION BY feed, language, is_now
                ORDER BY hash(feedback_id)) <= {SAMPLED_POSTS}
        ), held AS (
            SELECT feedback_id, feed, language, is_now, unnest(list_distinct(list_concat(words,
                list_transform(range(1, len(words)), lambda i: words[i] || ' ' || words[i + 1]))))
                AS term
            FROM sampled
        ), samples AS (
            SELECT feed, language, count(*) FILTER (is_now) AS posts_now,
                count(*) FILTER (NOT is_now) AS posts_before
            FROM sampled GROUP BY ALL HAVING posts_now > 0 AND posts_before > 0
        ), counted AS (
            SELECT feed, language, term, count(*) FILTER (is_now) AS now,
                count(*) FILTER (NOT is_now) AS before
            FROM held WHERE length(term) <= 60 GROUP BY ALL HAVING now >= {FEWEST_POSTS}
        ), scored AS (
            SELECT *, {PRIOR_POSTS} * (now + before) / (posts_now + posts_before) AS prior,
                ln((now + prior) / (posts_now + {PRIOR_POSTS} - now - prior))
                - ln((before + prior) / (posts_before + {PRIOR_POSTS} - before - prior)) AS log_odds,
                log_odds / sqrt(1 / (now + prior) + 1 / (before + prior)) AS score,
                now / posts_now AS share, before / posts_before AS baseline_share
            FROM counted JOIN samples USING (feed, language)
        ), rising AS (
            SELECT * FROM scored
            WHERE score >= {LEAST_SCORE} AND share >= {LEAST_RATIO} * baseline_share
        ), phrases AS (
            SELECT feed, language, now, unnest(string_split(term, ' ')) AS word FROM rising
            WHERE contains(term, ' ')
        ), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY feed, language ORDER BY score DESC, term)
                ::INTEGER AS rank
            FROM rising r
            WHERE NOT EXISTS (SELECT 1 FROM phrases p WHERE p.feed = r.feed
                AND p.language = r.language AND p.word = r.term
                AND p.now >= {SAME_POSTS} * r.now)
            QUALIFY rank <= {RANKS}
        ), felt AS (
            SELECT h.feed, h.language, h.term,
                (count(*) FILTER (s.label = 'positive') - count(*) FILTER (s.label = 'negative'))
                / count(*) AS net_sentiment_share
            FROM held h SEMI JOIN ranked USING (feed, language, term)
            JOIN current_sentiment s ON s.feedback_id = h.feedback_id
            WHERE h.is_now AND s.posted_at >= $begin AND s.posted_at < $until
            GROUP BY ALL
        )
        SELECT {", ".join(columns)} FROM (
            SELECT $first::DATE AS first_date, $last::DATE AS last_date, feed, language, term, rank,
                now AS post_count, posts_now AS sample_count, round(share, 6) AS share,
                round(baseline_share, 6) AS baseline_share, round(score, 4) AS score,
                round(net_sentiment_share, 6) AS net_sentiment_share
            FROM ranked LEFT JOIN felt USING (feed, language, term))
        """,
        {
            "since": since,
            "begin": begin,
            "until": until,
            "feed": period.feed,
            "first": period.first,
            "last": period.last,
        },
    )
