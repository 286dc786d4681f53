"""Drift is a column that came, went or changed its kind; what varies by nature is none."""

import json

import pytest

from data_platform.ingestion.drift import Drift, drift_of
from data_platform_tests.ingestion.test_collect import Place


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"id": "number"}, {"id": "number"}, Drift()),
        ({"id": "number"}, {"id": "number", "x": "text"}, Drift(added=("x",))),
        ({"id": "number", "x": "text"}, {"id": "number"}, Drift(missing=("x",))),
        ({"id": "number"}, {"id": "text"}, Drift(retyped=("id: number → text",))),
        ({"a": "text"}, {"b": "text"}, Drift(added=("b",), missing=("a",))),
        ({"a": "text"}, {"a": "number"}, Drift()),
        ({"a": "unknown"}, {"a": "number"}, Drift()),
        ({"a": "number"}, {"a": "unknown"}, Drift()),
        ({"a": "text"}, {"a": "text", "b": "text?"}, Drift()),
        ({"a": "text", "b": "text?"}, {"a": "text"}, Drift()),
        ({"b": "number?"}, {"b": "number"}, Drift()),
        ({"b": "number?"}, {"b": "text"}, Drift(retyped=("b: number → text",))),
        ({}, {"I was born in 1990, you know": "text"}, Drift(added=("(no name)",))),
    ],
)
def test_drift(before, after, expected):
    assert drift_of(before, after) == expected


@pytest.fixture
def place(home):
    return Place(home)


def rows(count: int = 6, extra: str = "", first: int = 0) -> str:
    return "".join(f"{n},2024-03-01T10:00:{n:02d}Z,x{extra}\n" for n in range(first, first + count))


def test_a_delivery_is_compared_with_the_one_before_of_its_format(place):
    place.write("a.csv", rows())
    place.collect()
    assert place.ledger.latest_drifts("shop") == {}
    lines = [{"id": n, "at": "2024-03-01", "text": "x", "more": n} for n in range(6)]
    (place.incoming / "b.ndjson").write_text("\n".join(map(json.dumps, lines)))
    place.collect()
    assert place.ledger.latest_drifts("shop") == {}
    place.write("c.csv", rows(extra=",1"), header="id,at,text,likes\n")
    place.collect()
    assert place.ledger.latest_drifts("shop") == {"c.csv": "added: likes"}
    assert place.ledger.feed("shop").drifted_count == 1
    place.write("d.csv", rows(extra=",soon", first=6), header="id,at,text,likes\n")
    place.collect()
    assert place.ledger.latest_drifts("shop") == {"d.csv": "of another kind: likes: number → text"}
    place.write("e.csv", rows(extra=",later", first=12), header="id,at,text,likes\n")
    place.collect()
    assert place.ledger.latest_drifts("shop") == {}
    assert place.ledger.feed("shop").drifted_count == 2
