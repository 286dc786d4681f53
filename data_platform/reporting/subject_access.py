"""Everything that is held of one author, for a person who asks for it (GDPR, article 15)."""

from typing import Any

from data_platform.ingestion.authors import hash_handles
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.selection import (
    Selection,
    held_rows,
    landed_feeds,
    platforms_of,
)
from data_platform.storage.warehouse import Transaction

_POSTS = """
    SELECT feedback_id, feed, source, source_id, title, body, posted_at, edited_at, observed_at,
        language_hint, rating, rating_scale, label, topic, conversation_id, parent_id, url,
        like_count, share_count, reply_count, source_metadata, is_current
    FROM raw_feedback WHERE list_contains(?, author_id) ORDER BY posted_at, feedback_id, version_at
"""
_SCORES = """
    SELECT s.feedback_id, s.model_name, s.model_version, s.compound, s.label, s.scored_at
    FROM sentiment_scores s WHERE s.feedback_id IN (
        SELECT feedback_id FROM raw_feedback WHERE list_contains(?, author_id))
    ORDER BY s.feedback_id, s.scored_at
"""


def author_record(transaction: Transaction, feeds: Feeds, handle: str) -> dict[str, Any]:
    """Return all posts by an author, every version, with their scores, and what quarantine holds.

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
        "scores": transaction.arrow(_SCORES, [ids]).to_pylist(),
        "quarantine": [
            {"feed": name, "reason": row["reason"], "payload": row["payload"]}
            for name in names
            for segment in feeds.landing.segments([name], None)
            for row in held_rows(feeds, name, segment, selection, platforms[name][0])
        ],
    }
