"""What was erased and must not come back: keyed hashes of posts and authors, and what their records become."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_platform.schemas import LANDED_COLUMNS

POST, AUTHOR, RECORD = "post", "author", "record"
ERASED = "erased-"
HASH_CHARACTERS = 32
# content_hash of a deleted record: body, title and rating are null (see contract.content_hash_sql).
DELETED_HASH = sha256(b"null;null;null;4:true;").hexdigest()
LANDED = tuple(column.name for column in LANDED_COLUMNS)
KEPT_COLUMNS = ("feed", "source", "observed_at")


@dataclass(frozen=True)
class Suppression:
    """The erased posts and authors, whose records are replaced wherever they arrive.

    Attributes:
        key: of the hashes; whoever has the list alone cannot tell which posts are on it.
        posts: `erased_id` of each erased post.
        authors: author_id (itself a keyed hash) of each erased author.
        records: quarantine_id of each erased record that was refused.
    """

    key: bytes
    posts: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    records: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.posts or self.authors)

    def erased_id(self, feedback_id: str) -> str:
        """Return the keyed hash that stands for an erased post: 32 hex digits."""
        return sha256(f"{self.key.hex()}|{feedback_id}".encode()).hexdigest()[:HASH_CHARACTERS]

    def holds(self, feedback_id: str | None, author_id: str | None) -> bool:
        """True if a record of this post, or by this author, is to be replaced."""
        if author_id is not None and author_id in self.authors:
            return True
        return feedback_id is not None and self.erased_id(feedback_id) in self.posts

    def holds_sql(self, feedback_id: str = "feedback_id", author_id: str | None = None) -> str:
        """SQL for `holds`, with the parameters of `parameters`."""
        hashed = f"left(sha256($key || '|' || {feedback_id}), {HASH_CHARACTERS})"
        of_author = f" OR list_contains($authors, {author_id})" if author_id else ""
        return f"({hashed} IN (SELECT unnest($posts)){of_author})"

    def parameters(self, *, with_authors: bool = False) -> dict[str, Any]:
        """Parameters of `holds_sql`."""
        authors = {"authors": sorted(self.authors)} if with_authors else {}
        return {"key": self.key.hex(), "posts": sorted(self.posts), **authors}

    def applied(self, posts: pa.Table) -> pa.Table:
        """Return landed posts with the erased ones replaced by tombstones that name nobody.

        What stays of them is feed, source, the day and when it was observed: the counts of
        records go on adding up.
        """
        if not self:
            return posts
        # A hash for each record: only where something was erased.
        pairs = zip(posts["feedback_id"].to_pylist(), posts["author_id"].to_pylist(), strict=True)
        return replaced(
            posts, pa.array([self.holds(*pair) for pair in pairs], pa.bool_()), self._tombstone
        )

    def _tombstone(self, row: dict[str, Any]) -> dict[str, Any]:
        hashed = ERASED + self.erased_id(row["feedback_id"])
        return {
            "feedback_id": f"{row['source']}:{hashed}",
            "source_id": hashed,
            "content_hash": DELETED_HASH,
            "posted_at": row["posted_at"].replace(hour=0, minute=0, second=0, microsecond=0),
            "is_deleted": True,
        }


def replaced(
    posts: pa.Table, is_gone: pa.Array, remains: Callable[[dict[str, Any]], dict[str, Any]]
) -> pa.Table:
    """Return `posts` with the rows of `is_gone` emptied, but for what `remains` says of them.

    Columns that `posts` has beside those of the contract, such as the landing folder, stay.
    """
    if not pc.any(is_gone).as_py():
        return posts
    places = pc.indices_nonzero(is_gone)
    rows = posts.take(places).to_pylist()
    for row in rows:
        kept = {name: row[name] for name in KEPT_COLUMNS}
        row.update({**dict.fromkeys(LANDED), **kept, **remains(row)})
    emptied = pa.Table.from_pylist(rows, schema=posts.schema)
    others = posts.filter(pc.invert(is_gone))
    order = pa.chunked_array([pc.indices_nonzero(pc.invert(is_gone)), places])
    together = pa.concat_tables([others, emptied])
    return together.take(pc.sort_indices(order)).combine_chunks()
