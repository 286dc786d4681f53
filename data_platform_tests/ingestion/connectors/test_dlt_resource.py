import pytest

from data_platform.errors import ConfigurationError
from data_platform.ingestion.feeds import Feeds
from data_platform_tests.ingestion.platforms.stored import landed_rows, stored

pytest.importorskip("dlt", reason="needs customer-feedback-platform[dlt]")
MODULE = """
from datetime import UTC, datetime
from decimal import Decimal

import dlt
import pyarrow as pa

ROWS = [{"id": n, "at": "2026-02-01T10:00:00Z", "user": {"text": f"fine {n}"}} for n in range(COUNT)]

@dlt.resource(name="tickets")
def tickets(text=None):
    for row in ROWS:
        yield {**row, "user": {"text": text or row["user"]["text"]}}

@dlt.source
def helpdesk():
    return tickets()

def pages():
    yield ROWS[:2]
    yield pa.Table.from_pylist(ROWS[2:])

def typed():
    at = datetime(2026, 2, 1, 10, tzinfo=UTC)
    row = {"at": at, "user": {"text": "fine"}, "price": Decimal("1.50"), "raw": b"x", "day": at.date()}
    yield [{"id": 1, **row}, {"id": Decimal("2"), **row}, {("a", "b"): 1}]
    row["itself"] = row
    yield row

def broken():
    yield ROWS[0]
    raise RuntimeError("the helpdesk is closed")
"""


@pytest.fixture
def feeds(configured, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    module = f"our_sources_{abs(hash(request.node.name))}"

    def make(function, count=5, **changes):
        (tmp_path / f"{module}.py").write_text(MODULE.replace("COUNT", str(count)))
        block = {
            "name": "desk",
            "kind": "dlt",
            "resource": f"{module}:{function}",
            "fields": {"source_id": "id", "posted_at": "at", "body": "user.text"},
            **changes,
        }
        return Feeds(configured({"start_date": "2026-01-01", "feeds": [block]}))

    return make


@pytest.mark.parametrize("function", ["tickets", "helpdesk", "pages"])
def test_resources_sources_and_pages_are_read(feeds, home, function):
    found = feeds(function)
    assert found.collect("desk").errors == []
    assert stored(found, home) == {str(n): f"fine {n}" for n in range(5)}
    assert found.collect("desk").read_count == 0
    assert found.probe("desk").startswith("yields records")


def test_arguments_reach_the_function_and_an_edit_is_a_new_version(feeds, home):
    feeds("tickets").collect("desk")
    feeds("tickets", arguments={"text": "changed"}).collect("desk")
    assert set(stored(feeds("tickets"), home).values()) == {"changed"}


def test_more_records_than_a_page_holds_are_read_in_pages(feeds, monkeypatch):
    monkeypatch.setattr("data_platform.ingestion.connectors.dlt_resource.PAGE_SIZE", 7)
    found = feeds("tickets", count=30)
    found.collect("desk")
    assert landed_rows(found) == 30


def test_a_resource_that_raises_is_a_gap(feeds):
    found = feeds("broken")
    assert "RuntimeError: the helpdesk is closed" in found.collect("desk").errors[0]
    assert len(found.ledger.open_windows("desk")) == 1


@pytest.mark.parametrize(
    ("resource", "words"), [("no_such:f", "cannot be imported"), ("json:f", "no function f")]
)
def test_a_resource_that_is_not_there_is_the_users_mistake(feeds, resource, words):
    with pytest.raises(ConfigurationError, match=words):
        feeds("tickets", resource=resource).collect("desk")


def test_values_of_python_are_written_as_json_would_and_others_are_no_records(feeds, home):
    found = feeds("typed", keep=["price"])
    assert found.collect("desk").errors == []
    assert stored(found, home) == {"1": "fine", "2": "fine"}
    assert found.ledger.feed("desk").refused_count == 1  # both are the same: no record, of a dict
    assert found.collect("desk").read_count == 0
