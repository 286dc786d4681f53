"""Identifiers that something destroyed are told from those that only look odd."""

import random

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from data_platform.errors import PermanentSourceError
from data_platform.ingestion.identity import IdentityGuard

SEED = random.Random(3)
SNOWFLAKES = [
    str((1_400_000_000_000 + n * 61_007) << 22 | SEED.randrange(1 << 22)) for n in range(300)
]


def finding(ids: list[str], dates: list[str] | None = None, pages: int = 1) -> str | None:
    guard = IdentityGuard()
    dates = dates or [f"2024-03-01 {n}" for n in range(len(ids))]
    size = -(-len(ids) // pages) or 1
    for start in range(0, len(ids), size):
        guard.add(page(ids[start:][:size], dates[start:][:size]))
    return guard.finding


def page(ids: list[str], dates: list[str]) -> IdentityGuard:
    records = pa.table({"source_id": pa.array(ids, pa.string()), "posted_at": dates})
    with duckdb.connect() as connection:
        return IdentityGuard.of(records, connection)


@pytest.mark.parametrize("count", [1, 2, 300])
def test_scientific_notation_is_recognised(count):
    ids = [f"{float(i):.5E}" for i in SNOWFLAKES[:count]]
    assert f"{count} of {count} ids are in scientific notation" in (finding(ids) or "")
    assert finding([i.replace(".", ",") for i in ids]) is not None
    assert finding([repr(float(i)) for i in SNOWFLAKES[:count]]) is not None


@pytest.mark.parametrize("count", [5, 300])
def test_rounding_to_fifteen_digits_is_recognised(count):
    ids = [i[:15] + "0" * (len(i) - 15) for i in SNOWFLAKES[:count]]
    assert "only zeros behind the 15th" in (finding(ids, pages=2) or "")


@pytest.mark.parametrize("count", [10, 300])
def test_a_float_is_recognised_by_the_bits_that_it_cannot_hold(count):
    ids = [str(int(float(i))) for i in SNOWFLAKES[:count]]
    assert "64-bit float holds exactly" in (finding(ids) or "")
    assert "end in .0" in (finding([f"{i}.0" for i in SNOWFLAKES[:count]]) or "")


def test_ids_that_collapsed_are_recognised():
    assert "records have only 3 different ids" in (finding([str(n % 3) for n in range(300)]) or "")


@pytest.mark.parametrize(
    "ids",
    [
        [],
        SNOWFLAKES,
        [str(n) for n in range(300)],
        [str(n * 1000) for n in range(300)],
        [f"{n:018d}" for n in range(300)],
        [f"{SEED.randrange(16**12):012x}" for _ in range(300)],
        [f"1e{n}" for n in range(300)],
        ["1.0", "1.1", "2.0", "2.1", "3.0"],
        [f"https://social.example/posts/{n}" for n in range(300)],
        ["9007199254740993", "9007199254740992", "9007199254740994"],
        [SNOWFLAKES[0][:15] + "000"],
        [str(int(i) >> 12 << 12) for i in SNOWFLAKES[:20]],
        ["٣", "é", "", " "],
        ["1" * 400, "9" * 19, "9" * 18],
    ],
)
def test_other_ids_are_left_in_peace(ids):
    assert finding(ids) is None


def test_many_versions_of_few_posts_are_no_collapse():
    ids = [str(n % 5) for n in range(300)]
    assert finding(ids, dates=[f"2024-03-0{n % 5 + 1}" for n in range(300)]) is None
    assert finding(ids[:10]) is None


def test_a_single_odd_id_does_not_condemn_the_others():
    assert finding([*SNOWFLAKES[:9], "5.70306E+17"]) is None


def test_the_message_gives_numbers_an_example_and_the_way_out():
    guard = page(["5.70306E+17"] * 3, ["2024-03-01"] * 3)
    with pytest.raises(PermanentSourceError) as caught:
        guard.require_sound("a.csv")
    for part in ("a.csv: 3 of 3 ids", "'5.70306E+17'", "as text", "trust_ids: true"):
        assert part in str(caught.value)


def test_the_ids_of_real_tweets_pass_until_a_float_has_held_them(test_data):
    """72 % of these 14,485 ids are whole floats by nature: their generator left a counter at 0."""
    convert = pa_csv.ConvertOptions(column_types={"tweet_id": pa.string()})
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    table = pa_csv.read_csv(
        test_data("airline_tweets.csv"), parse_options=parse, convert_options=convert
    )
    ids = table["tweet_id"].to_pylist()
    assert finding(ids) is None
    assert finding([str(int(float(i))) for i in ids]) is not None
