"""What makes the rows of cleaned_feedback from those of raw_feedback."""

from collections.abc import Mapping
from contextlib import closing

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.cleaning.duplicates import link_copies
from data_platform.cleaning.language import identify_languages
from data_platform.cleaning.text import clean_text

# A title that ends like a sentence, also inside quotes or brackets.
_ENDS_A_SENTENCE = r"""[.!?…:;,。！？]["'”’»)\]]*$"""
_WORD = r"[^ ]*[\pL\pN][^ ]*"
_EMPTY = pa.scalar("")


def clean_posts(
    raw: pa.Table, *, default_languages: Mapping[str, str], min_campaign_chars: int
) -> pa.Table:
    """Return one row of cleaned_feedback for each row of `raw`, in the same order.

    Args:
        raw: the current version of each post of whole days: feedback_id, feed, content_hash,
            author_id, posted_at, title, body, language_hint; other columns are
            ignored. All of a day at once: copies are looked for among the rows of a day.
        default_languages: feed name to ISO 639-1, for texts whose language nothing else tells.
        min_campaign_chars: see `duplicates.link_copies`.

    Returns:
        feedback_id, content_hash, feed, posted_at, body_clean (title and body, never null),
        language (never null), language_confidence (0 to 1, or null), duplicate_of (or null),
        word_count (runs without a space that hold a letter or a digit), was_repaired,
        scored_text_hash.
    """
    text = clean_text(_join_title_and_body(raw["title"], raw["body"]))
    names = list(default_languages)
    feed_defaults = pa.array([default_languages[name] for name in names], pa.string())
    defaults = feed_defaults.take(
        pc.index_in(_one_array(raw["feed"]), value_set=pa.array(names, pa.string()))
    )
    languages = identify_languages(text.body_clean, raw["language_hint"], defaults)
    cleaned = pa.table(
        {
            "feedback_id": raw["feedback_id"],
            "author_id": raw["author_id"],
            "posted_at": raw["posted_at"],
            "body_clean": text.body_clean,
        }
    )
    return pa.table(
        {
            "feedback_id": raw["feedback_id"],
            "content_hash": raw["content_hash"],
            "feed": raw["feed"],
            "posted_at": raw["posted_at"],
            "body_clean": text.body_clean,
            "language": languages.language,
            "language_confidence": languages.confidence,
            "duplicate_of": link_copies(cleaned, min_campaign_chars),
            "word_count": pc.count_substring_regex(text.body_clean, _WORD).cast(pa.int32()),
            "was_repaired": text.was_repaired,
            "scored_text_hash": scored_text_hash(text.body_clean, languages.language),
        }
    )


def scored_text_hash(
    body_clean: pa.Array | pa.ChunkedArray, language: pa.Array | pa.ChunkedArray
) -> pa.Array:
    """Return the fingerprint of what a model is given: the language and the exact text.

    SHA-256, 64 lower-case hexadecimal digits, of `<length>:<language><length>:<body_clean>`, both
    in UTF-8, each length in bytes and decimal digits, so that no two pairs have the same bytes:

        hashlib.sha256(b"%d:%b%d:%b" % (len(code), code, len(text), text)).hexdigest()

    Null where either is null.
    """
    texts = pa.table(
        {
            "row_number_": pa.array(range(len(body_clean)), pa.int64()),
            "language": language,
            "body_clean": body_clean,
        }
    )
    with closing(duckdb.connect()) as connection:
        connection.register("texts", texts)
        hashed = connection.execute(
            """
            SELECT sha256(
                strlen(language) || ':' || language || strlen(body_clean) || ':' || body_clean
            ) AS hash
            FROM texts ORDER BY row_number_
            """
        )
        return hashed.to_arrow_table()["hash"].combine_chunks().cast(pa.string())


def _join_title_and_body(title: pa.ChunkedArray, body: pa.ChunkedArray) -> pa.Array:
    """Return "title. body"; a title that ends a sentence gets no full stop, a lone part neither.

    Without the stop the last word of the title and the first of the body read as one phrase.
    """
    title = pc.fill_null(pc.utf8_trim_whitespace(_one_array(title).cast(pa.string())), _EMPTY)
    body = pc.fill_null(pc.utf8_trim_whitespace(_one_array(body).cast(pa.string())), _EMPTY)
    is_lone = pc.or_(pc.equal(title, _EMPTY), pc.equal(body, _EMPTY))
    stop = pc.if_else(pc.match_substring_regex(title, _ENDS_A_SENTENCE), " ", ". ")
    return pc.binary_join_element_wise(title, pc.if_else(is_lone, _EMPTY, stop), body, _EMPTY)


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
