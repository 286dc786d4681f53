"""What the tests of the file formats share: a file is written, and read as a feed would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.connectors.pages import BrokenRecord, Page
from data_platform_tests.ingestion.conftest import file_feed

Read = Callable[..., list[Page]]


@pytest.fixture
def read(home: Path) -> Read:
    """Write one file, read it by a feed configured with `changes`; return its pages."""

    def read_file(name: str, content: bytes, **changes: Any) -> list[Page]:
        path = home / "incoming" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        connector = FileConnector(file_feed(**{"path": f"incoming/{name}", **changes}), home)
        (file,) = connector.files()
        return list(connector.read(file))

    return read_file


def records(pages: list[Page], *names: str) -> list[tuple[Any, ...]]:
    """Return these columns of all records, in order."""
    columns = names or ("source_id", "posted_at", "body")
    return [tuple(row[n] for n in columns) for page in pages for row in page.records.to_pylist()]


def broken(pages: list[Page]) -> list[BrokenRecord]:
    return [record for page in pages for record in page.broken]
