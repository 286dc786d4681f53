"""Records of feeds whose user says which field is what: the mapping of feedback.yaml, one record at a time."""

import json

from data_platform.feed_settings import MappedFeed
from data_platform.ingestion.connectors.connector import Item, Record
from data_platform.ingestion.connectors.json_records import value_at


def mapped_record(feed: MappedFeed, item: Item) -> Record:
    """Return `item` under the names of the post contract; empty text counts as not stated, but for the body."""
    record: dict[str, object] = {}
    for name, paths in feed.fields.items():
        found = next((v for path in paths if (v := value_at(item, path)) is not None), None)
        record[name] = None if found == "" and name != "body" else found
    record.update(feed.constants.items())
    if feed.keep:
        kept = {path: value_at(item, path) for path in feed.keep}
        record["source_metadata"] = json.dumps(kept, sort_keys=True, ensure_ascii=False)
    return record


def records_in(answer: object, path: str | None, where: str) -> list[object]:
    """Return the list of records in a JSON document: at `path`, or the document, or the one list in it.

    Raises:
        ValueError: there is none, or which one it is cannot be told.
    """
    if path is not None:
        found = value_at(answer, path)
        if isinstance(found, list):
            return found
        message = f"there is no list at {path!r} in {where}; mend records of the feed"
        raise ValueError(message)
    if isinstance(answer, list):
        return answer
    lists = [v for v in answer.values() if isinstance(v, list)] if isinstance(answer, dict) else []
    if len(lists) == 1:
        return lists[0]
    message = (
        f"where the records are in {where} cannot be told; set records of the feed, such as"
        " records: data.items"
    )
    raise ValueError(message)
