"""Documents that are nearly right: cut, spliced, repeated, with bytes and values in them that nobody expects."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

# Places in a document are drawn as shares of it, so that they mean something in every document.
PLACES = st.integers(0, 999)
FRAGMENTS = (
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\x80",
        b"\xc3",
        b"\x1a",
        b"\x0c",
    ),
    *(
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\udc00\\ud800",
        b"&#xd800;",
        b"\xe2\x80\xae",
        b"\xe2\x80\xa8",
    ),
    *(
        b'"',
        b"'",
        b"\n",
        b"\r",
        b"\r\n",
        b",",
        b";",
        b"\t",
        b"\\",
        b"<",
        b">",
        b"&",
        b"]]>",
        b"<![CDATA[",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0",
        b"0x_",
    ),
    *(b"9" * 400, b"9" * 5_000, b"[" * 3_000, b'{"a":' * 3_000, b"x" * 70_000, b"\xcc\x81" * 3_000),
    *(b"&a;", b'<!DOCTYPE x [<!ENTITY a "b">]>', b"<a>" * 3_000, b"- " * 400, b"=1+1", b"\xd9\xa3"),
)
ODD_TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "\udcff",
        "\ufeff",
        "\u202e",
        "٣",
        "²",
        "é" * 9,
        "e\u0301",
    ),
    *("NaN", "inf", "-1", "1e5", "1.50", "9" * 400, "9" * 5_000, "x" * 20_000, "[]", "{}", "null"),
    *("2024-03-01", "0000-00-00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"),
    *("https://a.example/?x=1", "//", "http://[", "@", "'; DROP TABLE x; --", "=1+1", "../../etc"),
)
NESTED = "nested here {} deep"
DEPTHS = (50, 400, 600, 800, 900, 950, 980, 2_000)
ODD_NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**18, 10**30, 10**400)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_TEXTS),
    st.sampled_from([NESTED.format(depth) for depth in DEPTHS]),
    st.floats(allow_nan=False),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["id", "a", "", "\x00", "url"]), inner, max_size=3),
    ),
    max_leaves=4,
)
BYTE_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["cut", "head", "drop", "put", "repeat", "flip", "splice"]),
        PLACES,
        PLACES,
        st.one_of(st.sampled_from(FRAGMENTS), st.binary(min_size=1, max_size=4)),
    ),
    min_size=1,
    max_size=4,
)
# Which part of a document (a place, and how deep at most) becomes what, or is dropped or repeated.
VALUE_CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "drop", "repeat"]), PLACES, VALUES),
    min_size=1,
    max_size=3,
)


def changed_bytes(content: bytes, changes: Sequence[tuple[str, int, int, bytes]]) -> bytes:
    """Return `content` with `BYTE_CHANGES` made to it; at most 2 MB."""
    whole = content
    for kind, one, other, fragment in changes:
        first, last = sorted((one * len(content) // 999, other * len(content) // 999))
        match kind:
            case "cut":
                content = content[:first]
            case "head":
                content = content[first:]
            case "drop":
                content = content[:first] + content[last:]
            case "put":
                content = content[:first] + fragment + content[first:]
            case "repeat":
                content = content[:last] + content[first:last] * 3 + content[last:]
            case "flip":
                content = content[:first] + fragment[:1] + content[first + 1 :]
            case "splice":
                content = content[:first] + whole[last:]
    return content[:2_000_000]


def changed_value(document: Any, changes: Sequence[tuple[str, int, Any]]) -> Any:
    """Return a document of JSON with `VALUE_CHANGES` made to it."""
    for kind, place, value in changes:
        ways = list(_ways(document, ()))
        document = _with(document, ways[place * len(ways) // 1_000], kind, value)
    return document


def _ways(value: Any, way: tuple[Any, ...]) -> Any:
    """Yield the way to each part of a document."""
    yield way
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _ways(inner, (*way, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _ways(inner, (*way, position))


def _with(document: Any, way: tuple[Any, ...], kind: str, value: Any) -> Any:
    if not way:
        return value if kind == "put" else [document, document]
    key, *rest = way
    copy = dict(document) if isinstance(document, dict) else list(document)
    if rest:
        copy[key] = _with(copy[key], tuple(rest), kind, value)
    elif kind == "put":
        copy[key] = value
    elif kind == "drop":
        del copy[key]
    elif isinstance(copy, list):
        copy[key:key] = [copy[key]] * 3
    else:
        copy[f"{key} again"] = copy[key]
    return copy


def as_json(value: Any) -> bytes:
    """Write JSON, with lists that are nested where `NESTED` says so."""
    text = json.dumps(value)
    for depth in DEPTHS:
        text = text.replace(f'"{NESTED.format(depth)}"', "[" * depth + "]" * depth)
    return text.encode()
