"""dlt: the records of a resource or source of that library, read as a feed."""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import date, time, timedelta
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from data_platform.errors import ConfigurationError, TransientSourceError
from data_platform.feed_settings import DltFeed
from data_platform.ingestion.connectors.connector import (
    Connector,
    Item,
    Listing,
    Record,
    Token,
    Traits,
    Window,
)
from data_platform.ingestion.connectors.json_records import parse_json
from data_platform.ingestion.connectors.mapping import mapped_record

PAGE_SIZE = 5_000


class DltConnector(Connector[DltFeed]):
    """Iterates what a function returns: a dlt resource, a dlt source, or any iterable of records.

    Every collection reads it from the beginning; what is known is not landed again. State of dlt
    itself (its incremental cursors) is not used: the ledger would not know of it.
    """

    traits = Traits(
        title="dlt resource",
        reach="what the resource yields",
        edits="records that are yielded again with another content",
        deletions="a record whose mapped change or is_deleted says so; absence is no proof",
        overlap=timedelta(),
        id_type="as the resource yields it, as text",
        cost="whatever the resource asks for; every collection reads all of it",
        needs="pip install 'customer-feedback-platform[dlt]', and a module with the resource",
        listed_by="changed",
    )

    def streams(self) -> list[str]:
        """One: the resource."""
        return [self.feed.resource]

    def fetch(self, window: Window, token: Token | None) -> Listing:  # noqa: ARG002 (no windows)
        """Return some records; a later page iterates the resource anew and passes over the first."""
        start = int((token or {}).get("offset", 0))
        try:
            found = list(islice(_records(self._resource()), start, start + PAGE_SIZE))
        except ConfigurationError:
            raise
        except Exception as error:  # a resource is the user's code, and raises what it likes
            message = f"{self.feed.resource} failed: {type(error).__name__}: {str(error)[:200]}"
            raise TransientSourceError(message) from error
        is_last = len(found) < PAGE_SIZE
        return Listing(found, None if is_last else {"offset": start + PAGE_SIZE})

    def _resource(self) -> Iterable[Any]:
        module_name, _, function = self.feed.resource.partition(":")
        folder = str(Path.cwd())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            module = import_module(module_name)
        except ImportError as error:
            message = (
                f"resource {self.feed.resource!r} cannot be imported: {error}. It is looked for in"
                f" the installed packages and in {folder}; for dlt itself: pip install"
                " 'customer-feedback-platform[dlt]'"
            )
            raise ConfigurationError(message) from error
        if not callable(made := getattr(module, function, None)):
            message = f"module {module_name} has no function {function}"
            raise ConfigurationError(message)
        resource: Iterable[Any] = made(**self.feed.arguments)
        return resource

    def record(self, item: Item) -> Record:
        """The mapped fields of a record."""
        return mapped_record(self.feed, item)

    def probe(self) -> str:
        """Read the first record."""
        count = len(list(islice(_records(self._resource()), 1)))
        return f"yields records ({count} read)"


def _records(resource: Iterable[Any]) -> Iterator[object]:
    """Yield single records: dlt resources yield records, lists of them, or Arrow tables."""
    for found in resource:
        if isinstance(found, list):
            yield from map(_plain, found)
        elif hasattr(found, "to_pylist"):
            yield from map(_plain, found.to_pylist())
        else:
            yield _plain(found)


def _plain(record: object) -> object:
    """Return a record as JSON would hold it: dates as ISO 8601, decimals as they are written.

    Of what JSON cannot hold only the type is told; it is no record.
    """
    try:
        return parse_json(json.dumps(record, default=_written))
    except (TypeError, ValueError, RecursionError):
        return f"a {type(record).__name__} that JSON cannot hold"


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, date | time) else str(value)
