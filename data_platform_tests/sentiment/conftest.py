"""Posts with what people said of them and what a model said, put straight into the warehouse."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from data_platform.schemas import ACTIVE_MODEL, CLEANED_FEEDBACK, RAW_FEEDBACK, SENTIMENT_SCORES

POSTED_AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
MODEL = {"model_name": "vader", "model_version": "1", "model_fingerprint": "f1"}


@pytest.fixture
def put_posts(warehouse) -> Callable[..., None]:
    """Replace all posts and scores; a post is a dict, and what it does not say is as usual.

    Keys beside those of the tables: `scored` (the model's label, None: no score) and `cleaned`
    (False: not cleaned yet).
    """

    def put(*posts: dict[str, Any], active: str = "f1") -> None:
        raw, cleaned, scores = [], [], []
        for number, post in enumerate(posts):
            row = {
                "feedback_id": f"shop:{number}",
                "feed": "shop",
                "language": "en",
                "content_hash": "c",
                "scored_text_hash": "t",
                "posted_at": POSTED_AT,
                "is_current": True,
                "is_deleted": False,
                "scored": "neutral",
                "cleaned": True,
                **MODEL,
                **post,
            }
            raw.append({**row, "content_hash": post.get("raw_content_hash", row["content_hash"])})
            if row["cleaned"]:
                cleaned.append(row)
            if row["scored"]:
                scores.append({**row, "label": row["scored"]})
        with warehouse.transaction() as transaction:
            connection = transaction.connection
            model = [MODEL | {"model_fingerprint": active}]
            for table, rows in (
                (RAW_FEEDBACK, raw),
                (CLEANED_FEEDBACK, cleaned),
                (SENTIMENT_SCORES, scores),
                (ACTIVE_MODEL, model),
            ):
                filled = [
                    {c.name: row.get(c.name, _filler(c)) for c in table.columns} for row in rows
                ]
                connection.register("rows", pa.Table.from_pylist(filled, table.arrow_schema))
                connection.execute(f"DELETE FROM {table.name}")
                connection.execute(f"INSERT INTO {table.name} SELECT * FROM rows")

    return put


def _filler(column) -> Any:
    if not column.required:
        return None
    return {"VARCHAR": "x", "TIMESTAMPTZ": POSTED_AT, "BOOLEAN": False}.get(column.type, 0)
