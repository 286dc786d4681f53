"""Everything that is held of one author, for a person who asks for it (GDPR, article 15)."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_platform.ingestion.authors import hash_handles
from data_platform.ingestion.contract import POST_SCHEMA
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.selection import (
    Selection,
    held_rows,
    landed_feeds,
    platforms_of,
    segments_of,
)
from data_platform.schemas import HUMAN_LABELS, LOADED_SEGMENTS, RAW_FEEDBACK
from data_platform.storage.warehouse import Transaction

_COLUMNS = (
    *("feedback_id", "feed", "source", "source_id", "title", "body", "posted_at", "edited_at"),
    *("observed_at", "language_hint", "rating", "rating_scale", "label", "topic"),
    *("conversation_id", "parent_id", "url", "like_count", "share_count", "reply_count"),
    "source_metadata",
)
_POSTS = f"""
    SELECT {", ".join(_COLUMNS)}, is_current
    FROM {RAW_FEEDBACK.name} WHERE list_contains(?, author_id)
    ORDER BY posted_at, feedback_id, version_at
"""
_OF_POSTS = f"feedback_id IN (SELECT feedback_id FROM {RAW_FEEDBACK.name} WHERE list_contains(?, author_id))"
_SCORES = f"""
    SELECT feedback_id, model_name, model_version, compound, label, scored_at
    FROM sentiment_scores WHERE {_OF_POSTS} ORDER BY feedback_id, scored_at
"""
_HUMAN_LABELS = f"""
    SELECT feedback_id, label, selection, labelled_at
    FROM {HUMAN_LABELS.name} WHERE {_OF_POSTS} ORDER BY feedback_id, labelled_at
"""
_LOADED = f"SELECT segment FROM {LOADED_SEGMENTS.name}"


def author_record(transaction: Transaction, feeds: Feeds, handle: str) -> dict[str, Any]:
    """Return all that is held of an author: every version of the posts, and what belongs to them.

    That is their scores and human labels, posts that are landed and not loaded (their day is not
    open, or no run has come since), and refused records.

    Args:
        handle: as a source writes it, with or without @; it is looked for on every platform.
    """
    key = feeds.author_key()
    names = landed_feeds(feeds.landing)
    platforms = {name: platforms_of(feeds, name) for name in names}
    selection = Selection(author=handle)
    everywhere = {platform for of_feed in platforms.values() for platform in of_feed}
    ids = sorted({a for platform in everywhere for a in hash_handles(handle, platform, key)})
    return {
        "handle": handle,
        "author_ids": ids,
        "posts": transaction.arrow(_POSTS, [ids]).to_pylist(),
        "posts_not_loaded": list(_not_loaded(transaction, feeds, names, ids)),
        "scores": transaction.arrow(_SCORES, [ids]).to_pylist(),
        "human_labels": transaction.arrow(_HUMAN_LABELS, [ids]).to_pylist(),
        "quarantine": [
            {"feed": name, "reason": row["reason"], "payload": row["payload"]}
            for name in names
            for segment in feeds.landing.segments([name], None)
            for row in held_rows(feeds, name, segment, selection, platforms[name][0])
        ],
    }


def _not_loaded(
    transaction: Transaction, feeds: Feeds, names: Sequence[str], author_ids: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the authors' posts in segments that are not loaded, feed by feed and day by day."""
    loaded = set(transaction.arrow(_LOADED)["segment"].to_pylist())
    waiting = [
        segment
        for name in names
        for segment in segments_of(feeds.landing, name)
        if segment.day is not None and segment.path not in loaded
    ]
    authors = pa.array(author_ids, pa.string())
    for batch in feeds.landing.read(waiting, POST_SCHEMA):
        is_theirs = pc.is_in(batch["author_id"], authors)
        yield from batch.filter(is_theirs).select(_COLUMNS).to_pylist()
