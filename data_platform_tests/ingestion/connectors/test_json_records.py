"""JSON in the shapes in which programs export it: lists, envelopes, nested objects, lines named .json."""

import json

import pytest

from data_platform.errors import PermanentSourceError
from data_platform.ingestion.connectors.opening import MAX_LINE_CHARACTERS, TOO_LONG
from data_platform_tests.ingestion.connectors.conftest import broken, records

POST = {"id": 9007199254740993, "at": "a", "text": "b"}
ROW = ("9007199254740993", "a", "b")


@pytest.mark.parametrize(
    "document",
    [
        [POST],
        POST,
        {"data": [POST], "meta": {"count": 1}, "tags": ["x", "y"]},
        {"count": 1, "items": [POST]},
    ],
)
def test_the_records_of_a_document_are_found(read, document):
    for indent in (None, 2):
        content = json.dumps(document, indent=indent).encode()
        assert records(read("a.json", content)) == [ROW]


def test_records_deep_inside_are_found_by_their_path(read):
    content = json.dumps({"data": {"items": [POST], "pages": [{"x": 1}]}}).encode()
    assert records(read("a.json", content, records="data.items")) == [ROW]
    with pytest.raises(PermanentSourceError, match=r"no list at 'data\.posts'"):
        read("a.json", content, records="data.posts")
    with pytest.raises(PermanentSourceError, match="cannot be told"):
        read("a.json", content)


def test_where_records_are_is_not_guessed_between_two_lists(read):
    content = json.dumps({"posts": [POST], "users": [{"id": 1}]}).encode()
    with pytest.raises(PermanentSourceError, match="lists stand at posts, users"):
        read("a.json", content)
    assert records(read("a.json", content, records="posts")) == [ROW]


def test_lines_that_were_named_json_are_read_as_lines(read):
    content = "\n".join([json.dumps(POST), json.dumps({**POST, "id": 2}), "{bad"]).encode()
    pages = read("a.json", content)
    assert records(pages, "source_id") == [("9007199254740993",), ("2",)]
    assert [record.row_number for record in broken(pages)] == [3]


def test_nested_values_are_mapped_by_their_path(read):
    fields = {
        "source_id": "id",
        "posted_at": "meta.at",
        "body": "parts.0.text",
        "title": "user.name",
    }
    record = {
        "id": 1,
        "meta": {"at": "a"},
        "parts": [{"text": "b"}, {"text": "c"}],
        "user": {"name": "n"},
    }
    other = {"id": 2, "meta": {"at": "a"}, "parts": [], "user": None}
    for name, content in [
        ("a.json", json.dumps([record, other])),
        ("a.ndjson", f"{json.dumps(record)}\n{json.dumps(other)}\n"),
    ]:
        pages = read(name, content.encode(), fields=fields)
        assert records(pages, "source_id", "posted_at", "body", "title") == [
            ("1", "a", "b", "n"),
            ("2", "a", None, None),
        ]


def test_a_path_that_leads_nowhere_in_the_whole_file_is_refused(read):
    fields = {"source_id": "id", "posted_at": "meta.when", "body": "text"}
    with pytest.raises(PermanentSourceError, match=r"column 'meta.when'"):
        read("a.ndjson", b'{"id": 1, "meta": {"at": "a"}, "text": "b"}\n', fields=fields)


def test_each_record_has_the_first_of_several_names_that_it_knows(read):
    fields = {"source_id": "id", "posted_at": "at", "body": ["text", "full.text"]}
    lines = [POST, {"id": 2, "at": "a", "full": {"text": "c"}}, {**POST, "full": {"text": "no"}}]
    content = "\n".join(map(json.dumps, lines)).encode()
    assert records(read("a.ndjson", content, fields=fields), "body") == [("b",), ("c",), ("b",)]


def test_values_that_are_no_text_stand_as_json(read):
    line = '{"id": 1, "at": true, "text": {"b": [1, 2.50, null], "a": "é"}}\n'
    (row,) = records(read("a.ndjson", line.encode()), "posted_at", "body")
    assert row == ("true", '{"a": "é", "b": [1, "2.50", null]}')


def test_an_entry_of_a_list_that_is_no_record_is_broken(read):
    content = json.dumps([POST, 3, None, [POST], {"id": "\ud800", "at": "a", "text": "b"}])
    pages = read("a.json", content.encode())
    assert records(pages, "row_number") == [(1,)]
    assert [record.row_number for record in broken(pages)] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"id": 1, "at": "a"}, {"id"', "line 1, column 29"),
        (b'[\n{"id": 1},\n]', "line 3"),
        (b"[" * 200_000, "nested too deeply"),
        (b'"text"', "holds no records"),
        (b"3", "holds no records"),
        (b'{"a": 1}', "cannot be told"),
    ],
)
def test_a_document_without_records_is_refused_with_the_place(read, content, reason):
    with pytest.raises(PermanentSourceError, match=reason):
        read("a.json", content)


def test_an_empty_list_has_no_records(read):
    assert records(read("a.json", b"[]")) == []


def test_a_line_longer_than_any_post_is_kept_aside(read):
    long = b'{"id": 1, "at": "a", "text": "' + b"x" * MAX_LINE_CHARACTERS + b'"}\n'
    pages = read("a.ndjson", long + json.dumps(POST).encode())
    assert [(r.row_number, r.reason) for r in broken(pages)] == [(1, TOO_LONG)]
    assert records(pages, "row_number") == [(2,)]
