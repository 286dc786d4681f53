"""What finds posts that copy another post."""

from contextlib import closing

import duckdb
import pyarrow as pa

# Punctuation and white space, in every script; symbols other than ASCII's (emoji) are words here.
_FOLDED = r"[\p{P}\p{Z}\s$+<=>^`|~]+"

_LINK_COPIES = f"""
    WITH worded AS (
        SELECT
            row_number_, feedback_id, author_id, posted_at, CAST(posted_at AS DATE) AS day,
            regexp_replace(
                trim(regexp_replace(lower(body_clean), '{_FOLDED}', ' ', 'g')), '^(rt( |$))+', ''
            ) AS words
        FROM posts
    ),
    grouped AS (
        SELECT
            row_number_, feedback_id, posted_at, day, words,
            CASE WHEN length(words) < $min_campaign_chars THEN author_id END AS author_if_short,
            words <> '' AND (length(words) >= $min_campaign_chars OR author_id IS NOT NULL)
                AS can_be_copy
        FROM worded
    ),
    originals AS (
        SELECT
            row_number_, feedback_id, can_be_copy,
            first_value(feedback_id) OVER (
                PARTITION BY day, words, author_if_short, can_be_copy
                ORDER BY posted_at NULLS LAST, feedback_id
            ) AS original_id
        FROM grouped
    )
    SELECT CASE WHEN can_be_copy AND original_id <> feedback_id THEN original_id END AS duplicate_of
    FROM originals
    ORDER BY row_number_
"""


def link_copies(posts: pa.Table, min_campaign_chars: int = 40) -> pa.Array:
    """Say for each post which other post of its day (UTC) it copies.

    Two posts have the same words if they differ only in case, punctuation, white space and a
    leading "RT". The same words are a copy when the same author repeats them, at any length, or
    when they are long enough that two people hardly write them by chance: a campaign. "Thanks!"
    from two people is twice an opinion. The original is the earliest (`posted_at`, then
    `feedback_id`) of those with the same words; no original is itself a copy, and the order of
    the rows changes nothing.

    Args:
        posts: columns feedback_id (unique), author_id, posted_at, body_clean; others are ignored.
            An unknown author (null) is no one's namesake.
        min_campaign_chars: characters of the words from which the author does not matter.

    Returns:
        string, a row for each post: feedback_id of the original, null if the post is no copy.
    """
    columns = posts.select(["feedback_id", "author_id", "posted_at", "body_clean"])
    numbered = columns.append_column("row_number_", pa.array(range(len(posts)), pa.int64()))
    with closing(duckdb.connect()) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("posts", numbered)
        found = connection.execute(_LINK_COPIES, {"min_campaign_chars": min_campaign_chars})
        return found.to_arrow_table()["duplicate_of"].combine_chunks().cast(pa.string())
