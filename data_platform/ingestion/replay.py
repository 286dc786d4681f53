"""Replaying quarantine: refused records go through the current contract, and what passes is landed, once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Protocol

import pyarrow as pa

from data_platform.ingestion.collect import finish_removals, held_feed, split_by_day
from data_platform.ingestion.connectors.json_records import Record, parse_object
from data_platform.ingestion.connectors.pages import Page
from data_platform.ingestion.contract import (
    DAY_NOT_OPEN,
    POST_SCHEMA,
    REFUSED_SCHEMA,
    Delivery,
    OpenDays,
    PostContract,
)
from data_platform.ingestion.ledger import HeldDelivery, Ledger
from data_platform.storage.landing import (
    FOLDER_COLUMN,
    QUARANTINE,
    LandingZone,
    Segment,
    rows_by_day,
)

logger = logging.getLogger(__name__)


class Replayed(Protocol):
    """What reads records of quarantine again: the connector of their feed."""

    @property
    def feed(self) -> Any: ...

    def page_of(self, records: Sequence[Record], row_numbers: Sequence[int]) -> Page: ...


@dataclass
class Replay:
    """What one replay did; counts are records.

    Attributes:
        examined_count: records in quarantine whose payload is whole.
        released_count: of them, those that pass the contract now.
        unreadable_count: records that are kept in part, or were no records: only their file helps.
        landed_by_day: released records per day of posting, also of days that are not open.
    """

    examined_count: int = 0
    released_count: int = 0
    unreadable_count: int = 0
    landed_by_day: dict[date, int] = field(default_factory=dict)


def replay_quarantine(
    connector: Replayed,
    landing: LandingZone,
    ledger: Ledger,
    *,
    author_key: bytes,
    open_days: OpenDays,
) -> Replay:
    """Land what passes the feed's current contract of the records that were refused.

    Useful after a mend of the mapping or of the platform, when the files themselves are gone; as
    long as they are there, a changed mapping reads them again by itself. A released record leaves
    quarantine in the ledger's transaction that adds it, so that it is never in both. It counts as
    observed when its file was. A record that is to be erased stays in quarantine, as if it were
    not there.

    Raises:
        BusyError: another process is collecting the feed.
    """
    feed = connector.feed
    replay = Replay()
    with (
        held_feed(landing, feed.name),
        PostContract(feed, author_key, ledger.suppression(author_key)) as contract,
    ):
        finish_removals(landing, ledger, feed.name)
        for held in ledger.held_deliveries(feed.name):
            _replay_delivery(connector, contract, landing, ledger, open_days, held, replay)
    return replay


def _replay_delivery(
    connector: Replayed,
    contract: PostContract,
    landing: LandingZone,
    ledger: Ledger,
    open_days: OpenDays,
    held: HeldDelivery,
    replay: Replay,
) -> None:
    segments = [Segment(path) for path in held.segments]
    rows = [row for b in landing.read(segments, REFUSED_SCHEMA) for row in b.to_pylist()]
    erased = contract.suppression.records
    refused = [
        row for row in rows if row["reason"] != DAY_NOT_OPEN and row["quarantine_id"] not in erased
    ]
    whole = [(row, record) for row in refused if (record := _record(row["payload"])) is not None]
    replay.examined_count += len(whole)
    replay.unreadable_count += len(refused) - len(whole)
    if not whole:
        return
    first = whole[0][0]
    observed_at = first["observed_at"] or first["collected_at"]
    delivery = Delivery(held.delivery_id, held.file, observed_at, open_days)
    page = connector.page_of(
        [record for _, record in whole], [row["row_number"] for row, _ in whole]
    )
    checked = contract.check(page, delivery)
    if not checked.posts.num_rows:
        return
    still_refused = set(checked.refused["row_number"].to_pylist())
    released = {row["quarantine_id"] for row, _ in whole if row["row_number"] not in still_refused}
    posts, waiting = split_by_day(checked.posts, contract, delivery)
    kept = [row for row in rows if row["quarantine_id"] not in released] + waiting.to_pylist()
    with landing.delivery(connector.feed.name, held.delivery_id) as writer:
        writer.write(iter(posts.to_batches()), POST_SCHEMA)
        if kept:
            table = pa.Table.from_pylist(kept, schema=REFUSED_SCHEMA)
            folder = pa.repeat(pa.scalar(QUARANTINE), len(table))
            batches = table.append_column(FOLDER_COLUMN, folder).to_batches()
            writer.write(iter(batches), REFUSED_SCHEMA)
        replayed_at = datetime.now(UTC)
        ledger.begin(connector.feed.name, held.content, replayed_at)
        published = writer.publish(replayed_at)
    ledger.release(held, published, len(released))
    finish_removals(landing, ledger, connector.feed.name)
    replay.released_count += len(released)
    for day, count in rows_by_day(published).items():
        replay.landed_by_day[day] = replay.landed_by_day.get(day, 0) + count
    logger.info("%s: %s record(s) of %s left quarantine", held.file, len(released), len(rows))


def _record(payload: str | None) -> Record | None:
    """Return the record that a payload holds; None if it was cut or was never a record."""
    return parse_object(payload) if payload is not None else None
