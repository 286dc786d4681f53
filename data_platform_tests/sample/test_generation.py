"""Tests of posts in any number, as benchmarks make them."""

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_platform.sample import generate_posts, iterate_posts

LAST_DAY = dt.date(2026, 10, 20)


@pytest.fixture(scope="module")
def posts() -> pa.Table:
    return generate_posts(150_000, LAST_DAY)


def test_the_asked_number_of_posts_comes_with_unique_ids(posts):
    assert posts.num_rows == 150_000
    assert pc.count_distinct(posts["post_id"]).as_py() == 150_000
    assert generate_posts(0, LAST_DAY).num_rows == 0


def test_the_same_arguments_give_the_same_posts():
    assert generate_posts(2_000, LAST_DAY, 10, 3).equals(generate_posts(2_000, LAST_DAY, 10, 3))
    assert not generate_posts(2_000, LAST_DAY, 10, 3).equals(generate_posts(2_000, LAST_DAY, 10, 4))


def test_most_texts_differ(posts):
    assert pc.count_distinct(posts["text"]).as_py() > 0.8 * posts.num_rows


@pytest.mark.parametrize("days", [1, 2, 30, 400])
def test_posts_lie_in_their_days_and_in_order(days):
    times = [
        dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").astimezone(dt.UTC)
        for text in generate_posts(3_000, LAST_DAY, days)["created_at"].to_pylist()
    ]
    assert times == sorted(times)
    assert times[0].date() == LAST_DAY - dt.timedelta(days=days - 1)
    assert times[-1].date() == LAST_DAY


def test_batches_go_on_where_the_one_before_ended():
    batches = list(iterate_posts(2_500, LAST_DAY, batch_rows=1_000))
    assert [batch.num_rows for batch in batches] == [1_000, 1_000, 500]
    ids = [int(key) for batch in batches for key in batch["post_id"].to_pylist()]
    assert len(set(ids)) == 2_500
    assert [key >> 22 for key in ids] == sorted(key >> 22 for key in ids)
