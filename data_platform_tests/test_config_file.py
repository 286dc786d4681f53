"""feedback.yaml of any content: it is valid, or its user is told what to mend."""

from contextlib import suppress
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_platform.errors import ConfigurationError
from data_platform.settings import read_config
from data_platform_tests.examples import examples, within
from data_platform_tests.mutations import BYTE_CHANGES, changed_bytes

GOOD = b"""start_date: 2026-01-01
feeds:
  - name: shop
    kind: file
    path: incoming/*.csv
    every: 5m
    rating_scale: [1, 5]
    posted_at_format: "%d.%m.%Y"
    fields: {source_id: id, posted_at: at, body: [text, words], rating: stars}
    constants: {language: en}
  - &api
    name: brand
    kind: mastodon
    server: https://mastodon.example
    hashtags: [shop]
    token: {env: TOKEN}
cleaning: {redact: [email, phone], phone_regions: [US]}
sentiment: {words: {sick: 3.0}}
alerts:
  macro_f1: 0.4
exports:
  - {table: daily_sentiment, format: csv}
"""
TEMPLATES = [
    file.read_bytes() for file in files("data_platform").joinpath("feed_templates").iterdir()
]
# What YAML reads in its own way, where text was meant or nothing at all.
TOKENS = (
    *(
        "&a ",
        "*a",
        "<<: *api\n",
        "<<: [*api, *api]\n",
        "? [a, b]\n: c\n",
        "? {a: b}\n",
        "!!set {a, b}",
    ),
    *("!!int x", "!!int ''", "!!float x", "!!bool x", "!!timestamp x", "!!binary é", "!!omap [a]"),
    *("!!python/object:os.system x", "!!null x", "!!map [a]", "!!seq {a: b}", "!!str [a]", "!x y"),
    *("0b_", "0x_", "0o8", "1_000", "1:99:99", ".inf", "-.inf", ".nan", "2026-02-30", "1e999"),
    *(
        "0001-01-01 00:00:00 +23:00",
        "9999-12-31 23:59:59 -23:00",
        "9" * 5_000,
        "=",
        "~",
        "\t",
        "- - - ",
    ),
    *(
        '"\\ud800"',
        '"\\0"',
        "%YAML 9.9\n---\n",
        "---\n",
        "...\n",
        "|\n",
        ">+9\n",
        "'",
        '"',
        "{",
        "[" * 200,
    ),
    *(
        "yes",
        "no",
        "a: a: a",
        "@",
        "`",
        "name",
        "kind: rest",
        "kind: [file]",
        "start_date",
        "feeds: []\n",
    ),
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A configuration in which tokens of YAML and bytes of any kind stand where they should not."""
    content = draw(st.sampled_from([GOOD, GOOD, *TEMPLATES]))
    for token, share, replaces in draw(
        st.lists(st.tuples(st.sampled_from(TOKENS), st.integers(0, 999), st.booleans()), max_size=3)
    ):
        pieces = content.split(b" ")
        place = share * len(pieces) // 1_000
        pieces[place : place + replaces] = [token.encode()]
        content = b" ".join(pieces)
    return changed_bytes(content, draw(st.one_of(st.just([]), BYTE_CHANGES)))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("config") / "feedback.yaml"


@examples(150)
@given(
    content=st.one_of(documents(), documents(), st.binary(max_size=60), st.text().map(str.encode))
)
def test_any_configuration_is_valid_or_told_to_be_wrong(path, content):
    path.write_bytes(content)
    with within(2), suppress(ConfigurationError):
        read_config(path)


def test_the_configuration_that_is_changed_is_valid_as_it_stands(path):
    path.write_bytes(GOOD)
    assert [feed.name for feed in read_config(path).feeds] == ["shop", "brand"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0x_", "a date is expected"),
        ("!!int x", "a date is expected"),
        ("!!bool x", "a date is expected"),
        ("!!int ''", "a date is expected"),
        ("!!timestamp x", "a date is expected"),
        ("9" * 5_000, "a date is expected"),
    ],
)
def test_a_value_that_yaml_cannot_make_is_a_mistake_with_its_line(path, value, words):
    path.write_text(GOOD.decode().replace("2026-01-01", value))
    with pytest.raises(ConfigurationError, match=f"line 1, start_date: {words}"):
        read_config(path)
