"""What makes the rows of cleaned_feedback from those of raw_feedback."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.cleaning.duplicates import fold_words, link_copies
from data_platform.cleaning.language import identify_languages
from data_platform.cleaning.privacy import NOTHING, Redaction, redact, without_placeholders
from data_platform.cleaning.text import clean_text
from data_platform.schemas import CLEANED_FEEDBACK

# A title that ends like a sentence, also inside quotes or brackets.
_ENDS_A_SENTENCE = r"""[.!?…:;,。！？]["'”’»)\]]*$"""
_WORD = r"[^ ]*[\pL\pN][^ ]*"
_NO_WORD = r"(?:^| )[^ \pL\pN]+(?: |$)"
FEWEST_ROWS_PER_THREAD = 2_000
_EMPTY = pa.scalar("")


def clean_posts(
    raw: pa.Table,
    *,
    default_languages: Mapping[str, str],
    min_campaign_chars: int,
    redaction: Redaction = NOTHING,
    threads: int = 1,
) -> pa.Table:
    """Return one row of cleaned_feedback for each row of `raw`, in the same order.

    Args:
        raw: the current version of each post of whole days: feedback_id, feed, content_hash,
            author_id, posted_at, title, body, language_hint; other columns are
            ignored. All of a day at once: copies are looked for among the rows of a day.
        default_languages: feed name to ISO 639-1, for texts whose language nothing else tells.
        min_campaign_chars: see `duplicates.link_copies`.
        redaction: the personal data that body_clean holds a placeholder for. It is looked for when
            nothing can hide it any more: after references are decoded, tags and invisible
            characters gone. Everything else, scores too, comes from the text with placeholders.
        threads: how many parts of `raw` are worked on at the same time.

    Returns:
        feedback_id, content_hash, feed, posted_at, body_clean (title and body, never null),
        language (never null), language_confidence (0 to 1, or null), duplicate_of (or null),
        word_count (runs without a space that hold a letter or a digit), was_repaired,
        scored_text_hash.
    """
    size = max(-(-len(raw) // threads), FEWEST_ROWS_PER_THREAD)
    parts = [raw.slice(start, size) for start in range(0, len(raw), size)] or [raw]
    with ThreadPoolExecutor(threads) as pool:
        cleaned = list(
            pool.map(lambda part: _clean_rows(part, default_languages, redaction), parts)
        )
    rows = pa.concat_tables(cleaned)
    copies = link_copies(rows, min_campaign_chars)
    columns = [c for c in CLEANED_FEEDBACK.column_names if c != "duplicate_of"]
    place = CLEANED_FEEDBACK.column_names.index("duplicate_of")
    return rows.select(columns).add_column(place, "duplicate_of", copies)


def _clean_rows(
    raw: pa.Table, default_languages: Mapping[str, str], redaction: Redaction
) -> pa.Table:
    """Return everything that a row of `raw` alone decides, with its author and folded words."""
    text = clean_text(join_title_and_body(raw["title"], raw["body"]))
    body_clean = without_personal_data(text.body_clean, redaction)
    names = list(default_languages)
    feed_defaults = pa.array([default_languages[name] for name in names], pa.string())
    defaults = feed_defaults.take(
        pc.index_in(_one_array(raw["feed"]), value_set=pa.array(names, pa.string()))
    )
    languages = identify_languages(without_placeholders(body_clean), raw["language_hint"], defaults)
    kept = ("feedback_id", "content_hash", "feed", "posted_at", "author_id")
    return pa.table(
        {
            **{name: raw[name] for name in kept},
            "body_clean": body_clean,
            "language": languages.language,
            "language_confidence": languages.confidence,
            "word_count": _count_words(body_clean),
            "was_repaired": text.was_repaired,
            "scored_text_hash": scored_text_hash(body_clean, languages.language),
            "words": fold_words(body_clean),
        }
    )


def without_personal_data(cleaned: pa.Array, redaction: Redaction) -> pa.Array:
    """Return cleaned texts (never null) with placeholders.

    To clean and redact the result again changes nothing: where a placeholder makes something new
    of what stands around it, that has been done.
    """
    texts = redact(cleaned, redaction)
    moving = pc.not_equal(texts, cleaned)
    while pc.any(moving).as_py():
        before = texts.filter(moving)
        after = redact(clean_text(before).body_clean, redaction)
        texts = pc.replace_with_mask(texts, moving, after)
        moving = pc.replace_with_mask(moving, moving, pc.not_equal(after, before))
    return texts


def _count_words(body_clean: pa.Array) -> pa.Array:
    """Count the runs without a space that hold a letter or a digit.

    Between the words of a clean text stands one space; only where a run holds neither letter nor
    digit, they are counted one by one.
    """
    spaces = pc.count_substring(body_clean, " ")
    counts = pc.if_else(pc.equal(body_clean, _EMPTY), 0, pc.add(spaces, 1))
    is_odd = pc.match_substring_regex(body_clean, _NO_WORD)
    odd_counts = pc.count_substring_regex(body_clean.filter(is_odd), _WORD)
    return pc.replace_with_mask(counts.cast(pa.int32()), is_odd, odd_counts.cast(pa.int32()))


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


def join_title_and_body(title: pa.ChunkedArray, body: pa.ChunkedArray) -> pa.Array:
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
