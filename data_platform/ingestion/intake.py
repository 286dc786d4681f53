"""Taking in what others send: an HTTP endpoint that answers when the records are durable in the landing zone."""

import hmac
import json
import logging
import queue
import threading
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data_platform.errors import (
    BusyError,
    DataPlatformError,
    PermanentSourceError,
    StorageError,
)
from data_platform.ingestion.collect import finish_removals, held_feed, split_by_day
from data_platform.ingestion.connectors.connector import Item, Record
from data_platform.ingestion.connectors.json_records import NO_OBJECT, parse_json
from data_platform.ingestion.connectors.mapping import mapped_record, records_in
from data_platform.ingestion.connectors.opening import is_text, readable
from data_platform.ingestion.contract import POST_SCHEMA, REFUSED_SCHEMA, Delivery, PostContract
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.ledger import Delivered
from data_platform.ingestion.pull import page_of
from data_platform.schemas import CONTRACT_VERSION
from data_platform.settings import Settings
from data_platform.storage.landing import FOLDER_COLUMN, QUARANTINE

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

logger = logging.getLogger(__name__)

REQUESTS_TOGETHER = 200
SECONDS_TO_WAIT = 60.0
SECONDS_TO_SEND = 30.0


@dataclass(frozen=True)
class Receipt:
    """What became of the records of one request; both are durable."""

    landed: int
    quarantined: int


class Intake:
    """Lands the records of one webhook feed; requests that wait together are landed together.

    Args:
        feeds: where the records land.
        feed: name of a feed of kind webhook.
    """

    def __init__(self, feeds: Feeds, feed: str) -> None:
        self._feeds = feeds
        self._feed = feeds.webhook(feed)
        self._waiting: queue.SimpleQueue[tuple[list[object], Future[Receipt]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name=f"intake of {feed}", daemon=True)
        self._thread.start()

    def submit(self, records: list[object]) -> Future[Receipt]:
        """Land records; the future ends when they are durable, or with the error that kept them."""
        future: Future[Receipt] = Future()
        self._waiting.put((records, future))
        return future

    def close(self) -> None:
        """Land what waits, then end."""
        self._waiting.put(None)
        self._thread.join()

    def is_signed(self, body: bytes, signature: str) -> bool:
        """True if `signature` is the HMAC-SHA256 of the body under the feed's secret, as sha256=HEX."""
        key = self._feed.secret.read().encode()
        expected = "sha256=" + hmac.new(key, body, sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), signature.strip().encode("utf-8", "replace"))

    def records_of(self, body: bytes) -> list[object]:
        """Return the records of a request.

        Raises:
            ValueError: it is not JSON in UTF-8, or holds no records where they should be.
        """
        try:
            document = parse_json(body.decode("utf-8"))
        except RecursionError as error:
            message = "it is nested too deeply"
            raise ValueError(message) from error
        if self._feed.records is None and isinstance(document, dict):
            return [document]
        return records_in(document, self._feed.records, "the request")

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            requests = [first]
            is_last = False
            while len(requests) < REQUESTS_TOGETHER and not self._waiting.empty():
                if (following := self._waiting.get()) is None:
                    is_last = True
                    break
                requests.append(following)
            # Whose sender was told to send again is not landed; the others cannot be cancelled now.
            wanted = [r for r in requests if r[1].set_running_or_notify_cancel()]
            if wanted:
                self._answer(wanted)
            if is_last:
                return

    def _answer(self, requests: Sequence[tuple[list[object], Future[Receipt]]]) -> None:
        """Land requests together; where one of them is at fault, each by itself: no sender pays for another's."""
        try:
            receipts = self._land([records for records, _ in requests])
        except Exception as error:
            if len(requests) > 1 and not isinstance(error, BusyError | StorageError | OSError):
                for request in requests:
                    self._answer([request])
                return
            for _, future in requests:
                future.set_exception(error)
        else:
            for (_, future), receipt in zip(requests, receipts, strict=True):
                future.set_result(receipt)

    def _land(self, requests: Sequence[Sequence[object]]) -> list[Receipt]:
        """Land the records of some requests as one delivery; durable on return."""
        feeds, name = self._feeds, self._feed.name
        now = datetime.now(UTC)
        numbered = [record for records in requests for record in records]
        good: list[tuple[Item, Record]] = []
        numbers: list[int] = []
        broken: list[tuple[str, str]] = []
        owners = [n for n, records in enumerate(requests) for _ in records]
        refused_of = [0] * len(requests)
        for number, item in enumerate(numbered, start=1):
            payload = json.dumps(item, ensure_ascii=False)
            if not isinstance(item, dict):
                broken.append((NO_OBJECT, readable(payload)))
            elif not is_text(payload):
                broken.append(("the record holds half a surrogate pair", readable(payload)))
            else:
                good.append((item, mapped_record(self._feed, item)))
                numbers.append(number)
                continue
            refused_of[owners[number - 1]] += 1
        if not numbered:
            return [Receipt(0, 0) for _ in requests]
        delivery_id = uuid.uuid4().hex
        delivery = Delivery(delivery_id, "webhook", now, feeds.open_days)
        with (
            held_feed(feeds.landing, name),
            PostContract(
                self._feed, feeds.author_key(), feeds.ledger.suppression(feeds.author_key())
            ) as contract,
        ):
            finish_removals(feeds.landing, feeds.ledger, name)
            checked = contract.check(page_of(good, broken), delivery)
            if not self._feed.trust_ids:
                checked.identity.require_sound("the request")
            for row_number in checked.refused["row_number"].to_pylist():
                if row_number <= len(good):
                    refused_of[owners[numbers[row_number - 1] - 1]] += 1
            posts, waiting = split_by_day(checked.posts, contract, delivery)
            refused = pa.concat_tables([checked.refused, waiting])
            with feeds.landing.delivery(name, delivery_id) as writer:
                writer.write(iter(posts.combine_chunks().to_batches()), POST_SCHEMA)
                if refused.num_rows:
                    folder = pa.repeat(pa.scalar(QUARANTINE), len(refused))
                    table = refused.append_column(FOLDER_COLUMN, folder)
                    writer.write(iter(table.to_batches()), REFUSED_SCHEMA)
                feeds.ledger.begin_pull(name, now)
                segments = writer.publish(now)
            feeds.ledger.record(
                Delivered(
                    delivery_id,
                    name,
                    f"taken in {delivery_id}",
                    str(CONTRACT_VERSION),
                    "webhook",
                    len(numbered),
                    checked.refused.num_rows,
                    segments,
                    now,
                )
            )
            feeds.ledger.finish(name, now, None)
        return [
            Receipt(len(records) - refused_of[n], refused_of[n])
            for n, records in enumerate(requests)
        ]


def webhook_application(settings: Settings) -> "Starlette":
    """Return the ASGI application: POST /feeds/NAME for each feed of kind webhook, GET /health.

    200: durable; with counts. 400: no JSON records, or their ids were destroyed on the way.
    401: wrong signature. 404: no such feed.
    408: too slow. 413: too long. 415: compressed. 503: not stored now; send it again.
    """
    from starlette.applications import Starlette
    from starlette.routing import Route

    feeds = Feeds(settings)
    intakes = {name: Intake(feeds, name) for name in feeds.webhooks}

    @asynccontextmanager
    async def lifespan(_: "Starlette") -> AsyncIterator[None]:
        yield
        for intake in intakes.values():
            intake.close()

    async def take(request: "Request") -> "Response":
        return await _take(request, feeds, intakes)

    async def health(_: "Request") -> "Response":
        return _answer(200, {"feeds": sorted(intakes)})

    return Starlette(
        routes=[
            Route("/feeds/{name}", take, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ],
        lifespan=lifespan,
    )


async def _take(request: "Request", feeds: Feeds, intakes: Mapping[str, Intake]) -> "Response":
    import asyncio

    name = request.path_params["name"]
    if (intake := intakes.get(name)) is None:
        return _answer(404, {"error": "there is no feed of kind webhook of that name"})
    feed = feeds.webhook(name)
    if request.headers.get("content-encoding", "identity") != "identity":
        return _answer(415, {"error": "send the body as it is, not compressed"})
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS_TO_SEND):
            async for chunk in request.stream():
                body += chunk
                if len(body) > feed.max_bytes:
                    return _answer(413, {"error": f"the longest body is {feed.max_bytes:,} bytes"})
    except TimeoutError:
        return _answer(408, {"error": f"the body did not arrive within {SECONDS_TO_SEND:g} s"})
    if not intake.is_signed(bytes(body), request.headers.get(feed.signature_header, "")):
        return _answer(401, {"error": f"{feed.signature_header} does not fit the body"})
    try:
        records = intake.records_of(bytes(body))
    except ValueError as error:
        return _answer(400, {"error": f"no records: {str(error)[:200]}"})
    try:
        receipt = await asyncio.wait_for(
            asyncio.wrap_future(intake.submit(records)), SECONDS_TO_WAIT
        )
    except PermanentSourceError as error:
        return _answer(400, {"error": f"not stored: {str(error)[:1_000]}"})
    except (DataPlatformError, OSError, TimeoutError, pa.ArrowException) as error:
        logger.warning("%s: a request was not stored: %s", name, error)
        return _answer(503, {"error": "not stored now; send it again"}, {"Retry-After": "30"})
    return _answer(200, {"landed": receipt.landed, "quarantined": receipt.quarantined})


def _answer(
    status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> "Response":
    from starlette.responses import JSONResponse

    return JSONResponse(dict(content), status, dict(headers or {}))
