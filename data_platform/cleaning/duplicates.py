"""What finds posts that copy another post."""

from contextlib import closing

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

# Punctuation and white space, in every script; symbols other than ASCII's (emoji) are words here.
_FOLDED = r"[\p{P}\p{Z}\s$+<=>^`|~]+"
_RETWEET = "^(?:rt(?: |$))+"

# Only words that stand more than once are compared.
_LINK_COPIES = """
    WITH placed AS (
        SELECT row_number_, feedback_id, author_id, posted_at, words,
            CAST(posted_at AS DATE) AS day, hash(words) AS words_hash
        FROM posts WHERE words <> ''
    ),
    repeated AS (SELECT words_hash FROM placed GROUP BY words_hash HAVING count(*) > 1),
    grouped AS (
        SELECT row_number_, feedback_id, posted_at, day, words,
            CASE WHEN length(words) < $min_campaign_chars THEN author_id END AS author_if_short,
        FROM placed SEMI JOIN repeated USING (words_hash)
        WHERE length(words) >= $min_campaign_chars OR author_id IS NOT NULL
    ),
    originals AS (
        SELECT row_number_, feedback_id,
            first_value(feedback_id) OVER (
                PARTITION BY day, words, author_if_short
                ORDER BY posted_at NULLS LAST, feedback_id
            ) AS original_id
        FROM grouped
    )
    SELECT row_number_, original_id FROM originals WHERE original_id <> feedback_id
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
        posts: columns feedback_id (unique), author_id, posted_at, words (of `fold_words`); others
            are ignored. An unknown author (null) is no one's namesake.
        min_campaign_chars: characters of the words from which the author does not matter.

    Returns:
        string, a row for each post: feedback_id of the original, null if the post is no copy.
    """
    columns = posts.select(["feedback_id", "author_id", "posted_at", "words"])
    numbered = columns.append_column("row_number_", pa.array(range(len(posts)), pa.int64()))
    with closing(duckdb.connect()) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("posts", numbered)
        found = connection.execute(_LINK_COPIES, {"min_campaign_chars": min_campaign_chars})
        copies = found.to_arrow_table()
    place = pc.index_in(numbered["row_number_"], value_set=copies["row_number_"].combine_chunks())
    originals = copies["original_id"].combine_chunks().cast(pa.string())
    return originals.take(place.combine_chunks())


def fold_words(texts: pa.Array) -> pa.Array:
    """Return what two texts with the same words share: lower case, words with one space between."""
    words = pc.replace_substring_regex(pc.utf8_lower(texts), _FOLDED, " ")
    return pc.replace_substring_regex(pc.utf8_trim(words, " "), _RETWEET, "")
