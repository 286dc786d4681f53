"""Scores against labels and ratings: exact counts and shares, honest intervals, and nothing compared twice."""

from collections import Counter
from statistics import mean

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_platform.schemas import SENTIMENT_EVALUATION
from data_platform.sentiment.evaluation import (
    CLASSES,
    CONFUSION_SCHEMA,
    RESAMPLES,
    confusion_markdown,
    evaluate,
    f1_intervals,
    macro_rows,
    measure,
    refresh_sentiment_evaluation,
)

# Rows: true negative, neutral, positive; columns: predicted. By hand, for example negative:
# precision 6 of 10, recall 6 of 8, F1 = 2 * 6 / (8 + 10).
MATRIX = np.array([[6, 1, 1], [2, 3, 0], [2, 1, 4]])
BY_HAND = {
    "negative": (8, 10, 0.6, 0.75, 12 / 18, (6, 1, 1)),
    "neutral": (5, 5, 0.6, 0.6, 6 / 10, (2, 3, 0)),
    "positive": (7, 5, 0.8, 4 / 7, 8 / 12, (2, 1, 4)),
    "macro": (20, 20, 2 / 3, (0.75 + 0.6 + 4 / 7) / 3, (2 / 3 + 0.6 + 2 / 3) / 3, (10, 5, 5)),
}


def confusion_of(matrix, feed="shop", language="en", truth="label"):
    rows = [
        dict(zip(CONFUSION_SCHEMA.names, (feed, language, truth, *pair, int(count)), strict=True))
        for pair, count in zip(
            ((true, predicted) for true in CLASSES for predicted in CLASSES),
            np.asarray(matrix).flat,
            strict=True,
        )
        if count
    ]
    return pa.Table.from_pylist(rows, CONFUSION_SCHEMA)


def evaluated(*confusions):
    """The rows of sentiment_evaluation by (feed, language, truth, label)."""
    rows = evaluate(pa.concat_tables(confusions), "f1", "vader").to_pylist()
    return {(r["feed"], r["language"], r["truth"], r["label"]): r for r in rows}


def refreshed(warehouse):
    """Refresh the table, and return what it holds by (feed, language, truth, label)."""
    with warehouse.transaction() as transaction:
        refresh_sentiment_evaluation(transaction)
        rows = transaction.arrow("SELECT * FROM sentiment_evaluation").to_pylist()
    return {(r["feed"], r["language"], r["truth"], r["label"]): r for r in rows}


def sample_counts(rows):
    return {key[:3]: row["sample_count"] for key, row in rows.items()}


def shares(row):
    return row["precision_share"], row["recall_share"], row["f1_share"]


@pytest.mark.parametrize("label", BY_HAND)
def test_counts_and_shares_are_those_counted_by_hand(label):
    support, predicted, precision, recall, f1, cells = BY_HAND[label]
    row = evaluated(confusion_of(MATRIX))["shop", "all", "label", label]
    assert row["sample_count"] == 20
    assert row["support_count"] == support
    assert row["predicted_count"] == predicted
    assert shares(row) == tuple(round(share, 6) for share in (precision, recall, f1))
    assert tuple(row[f"predicted_{name}_count"] for name in CLASSES) == cells


def test_a_class_in_neither_truth_nor_predictions_has_no_share_and_no_part_in_the_mean():
    rows = evaluated(confusion_of([[3, 0, 1], [0, 0, 0], [1, 0, 3]]))
    absent = rows["shop", "all", "label", "neutral"]
    assert shares(absent) == (None, None, None)
    assert absent["f1_low_share"] is None
    assert absent["f1_high_share"] is None
    assert (absent["support_count"], absent["predicted_count"]) == (0, 0)
    assert shares(rows["shop", "all", "label", "macro"]) == (0.75, 0.75, 0.75)


def test_a_class_that_is_only_predicted_has_no_recall_and_an_f1_of_0():
    rows = evaluated(confusion_of([[3, 1, 0], [0, 0, 0], [0, 0, 4]]))
    assert shares(rows["shop", "all", "label", "neutral"]) == (0, None, 0)
    assert rows["shop", "all", "label", "macro"]["recall_share"] == (0.75 + 1) / 2
    assert rows["shop", "all", "label", "macro"]["f1_share"] == round((6 / 7 + 0 + 1) / 3, 6)


def test_a_class_that_is_never_predicted_has_no_precision_and_an_f1_of_0():
    rows = evaluated(confusion_of([[4, 0, 0], [1, 0, 0], [0, 0, 5]]))
    assert shares(rows["shop", "all", "label", "neutral"]) == (None, 0, 0)
    assert rows["shop", "all", "label", "macro"]["precision_share"] == (0.8 + 1) / 2


def test_a_model_that_always_says_the_same_scores_a_third_at_most():
    """95 % of these posts are negative, and so is every prediction: accuracy would say 0.95."""
    rows = evaluated(confusion_of([[95, 0, 0], [3, 0, 0], [2, 0, 0]]))
    assert rows["shop", "all", "label", "macro"]["f1_share"] < 1 / 3


POSTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["en", "de"]),
        st.sampled_from(["label", "rating"]),
        st.sampled_from(CLASSES),
        st.sampled_from(CLASSES),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=50, deadline=None)
@given(posts=POSTS)
def test_the_rows_are_those_of_a_loop_over_posts(posts):
    counted = [
        dict(zip(CONFUSION_SCHEMA.names, (*post, count), strict=True))
        for post, count in Counter(posts).items()
    ]
    rows = evaluated(pa.Table.from_pylist(counted, CONFUSION_SCHEMA))
    places = {(feed, lang, truth) for feed, own, truth, *_ in posts for lang in (own, "all")}
    assert set(rows) == {(*place, label) for place in places for label in (*CLASSES, "macro")}
    for feed, language, truth in places:
        pairs = [
            (true, predicted)
            for f, own, t, true, predicted in posts
            if f == feed and t == truth and language in (own, "all")
        ]
        f1s = []
        for label in CLASSES:
            hits = sum(1 for true, predicted in pairs if true == predicted == label)
            false_alarms = sum(1 for true, predicted in pairs if true != label == predicted)
            missed = sum(1 for true, predicted in pairs if true == label != predicted)
            row = rows[feed, language, truth, label]
            some = hits + false_alarms + missed
            f1s += [2 * hits / (2 * hits + false_alarms + missed)] if some else []
            assert row["sample_count"] == len(pairs)
            assert row["support_count"] == hits + missed
            assert row["predicted_count"] == hits + false_alarms
            assert shares(row) == (
                round(hits / (hits + false_alarms), 6) if hits + false_alarms else None,
                round(hits / (hits + missed), 6) if hits + missed else None,
                round(f1s[-1], 6) if some else None,
            )
        macro = rows[feed, language, truth, "macro"]
        assert macro["f1_share"] == pytest.approx(mean(f1s), abs=1e-6)
        assert macro["f1_low_share"] <= macro["f1_high_share"]


def test_an_interval_contains_its_share_and_narrows_with_more_posts():
    measured = measure(MATRIX).f1
    few, many = f1_intervals(MATRIX), f1_intervals(MATRIX * 100)
    assert np.all((few[:, 0] < measured) & (measured < few[:, 1]))
    assert np.all((many[:, 0] < measured) & (measured < many[:, 1]))
    assert np.all((many[:, 1] - many[:, 0]) * 5 < few[:, 1] - few[:, 0])


def test_the_interval_is_that_of_posts_drawn_again_one_by_one():
    """The multinomial draw of the matrix's cells is the bootstrap over posts, only faster."""
    rng = np.random.default_rng(7)
    posts = np.repeat(np.arange(9), (MATRIX * 10).flat)
    drawn = rng.choice(posts, (4 * RESAMPLES, posts.size))
    matrices = np.stack([np.bincount(cells, minlength=9).reshape(3, 3) for cells in drawn])
    expected = np.quantile(measure(matrices).f1, [0.025, 0.975], axis=0).T
    np.testing.assert_allclose(f1_intervals(MATRIX * 10), expected, atol=0.015)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(11)
    truth = measure(MATRIX).f1
    samples = rng.multinomial(400, MATRIX.flat / MATRIX.sum(), size=300).reshape(-1, 3, 3)
    intervals = np.stack([f1_intervals(sample) for sample in samples])
    held = ((intervals[..., 0] <= truth) & (truth <= intervals[..., 1])).mean(axis=0)
    assert np.all((held > 0.9) & (held < 0.99)), held


def test_one_post_is_an_evaluation_too():
    row = evaluated(confusion_of([[0, 0, 0], [0, 0, 0], [0, 0, 1]]))[
        "shop", "all", "label", "macro"
    ]
    assert (row["f1_share"], row["f1_low_share"], row["f1_high_share"]) == (1, 1, 1)


def test_languages_stand_by_themselves_and_together():
    rows = evaluated(
        confusion_of([[5, 0, 0], [0, 0, 0], [0, 0, 5]], language="en"),
        confusion_of([[0, 0, 3], [0, 0, 0], [3, 0, 0]], language="de"),
    )
    assert sample_counts(rows) == {
        ("shop", "all", "label"): 16,
        ("shop", "de", "label"): 6,
        ("shop", "en", "label"): 10,
    }
    f1 = {key[1]: row["f1_share"] for key, row in rows.items() if key[3] == "macro"}
    assert f1 == {"all": 0.625, "de": 0, "en": 1}


def test_the_confusion_table_shows_every_language_and_no_mean():
    rows = evaluate(
        pa.concat_tables([confusion_of(MATRIX, language="en"), confusion_of(MATRIX, feed="b")]),
        "f1",
        "vader",
    )
    assert set(macro_rows(rows)) == {("shop", "label"), ("b", "label")}
    lines = confusion_markdown(rows, "shop", "label").splitlines()
    assert len(lines) == 2 + 2 * len(CLASSES)
    assert lines[2] == "| en | negative | 6 | 1 | 1 | 0.600 | 0.750 | 0.667 |"
    assert lines[-1] == "| all | positive | 2 | 1 | 4 | 0.800 | 0.571 | 0.667 |"


@pytest.mark.parametrize(
    ("rating", "expected"),
    [
        *((0, "negative"), (0.25, "negative"), (0.4, "negative"), (0.41, "neutral")),
        *((0.5, "neutral"), (0.59, "neutral"), (0.6, "positive"), (0.75, "positive")),
        (1, "positive"),
    ],
)
def test_a_rating_has_the_class_that_reviews_are_read_as(warehouse, put_posts, rating, expected):
    put_posts({"rating": rating})
    rows = refreshed(warehouse)
    found = {key[2:] for key, row in rows.items() if row["support_count"] and key[1] == "all"}
    assert found == {("rating", expected), ("rating", "macro")}


def test_a_post_with_label_and_rating_is_in_both_evaluations(warehouse, put_posts):
    put_posts(
        {"label": "positive", "rating": 0.0, "scored": "positive"},
        {"rating": 0.0, "scored": "positive"},
        {"label": "negative", "feed": "forum", "scored": "positive"},
    )
    rows = refreshed(warehouse)
    assert sample_counts(rows) == {
        **{("shop", language, "label"): 1 for language in ("all", "en")},
        **{("shop", language, "rating"): 2 for language in ("all", "en")},
        **{("forum", language, "label"): 1 for language in ("all", "en")},
    }
    assert rows["shop", "all", "label", "positive"]["f1_share"] == 1
    assert rows["shop", "all", "rating", "negative"]["predicted_positive_count"] == 2


@pytest.mark.parametrize(
    "left_out",
    [
        {"duplicate_of": "shop:0"},
        {"is_deleted": True, "cleaned": False},
        {"is_deleted": True},  # deleted, and the tables behind are not refreshed yet
        {"is_current": False},
        {"raw_content_hash": "edited since"},  # the rating may be of another text than the score
        {"scored": None},
        {"model_fingerprint": "former"},
        {"label": None},
    ],
    ids=str,
)
def test_what_has_no_current_score_or_no_voice_of_its_own_is_left_out(
    warehouse, put_posts, left_out
):
    put_posts({"label": "positive"}, {"label": "positive", **left_out})
    assert set(sample_counts(refreshed(warehouse)).values()) == {1}


def test_without_labels_there_are_no_rows(warehouse, put_posts):
    assert refreshed(warehouse) == {}  # a new warehouse, without a model
    put_posts({}, {"feed": "forum"})
    assert refreshed(warehouse) == {}


def test_rows_go_when_the_labels_go(warehouse, put_posts):
    put_posts({"label": "positive", "language": "de"}, {"feed": "forum", "rating": 1.0})
    assert {key[:2] for key in refreshed(warehouse)} == {
        *(("shop", language) for language in ("all", "de")),
        *(("forum", language) for language in ("all", "en")),
    }
    put_posts({"label": None, "language": "de"}, {"feed": "forum", "rating": 1.0})
    assert {key[0] for key in refreshed(warehouse)} == {"forum"}
    put_posts({"feed": "forum", "rating": 1.0, "model_fingerprint": "f2"}, active="f2")
    assert {row["model_fingerprint"] for row in refreshed(warehouse).values()} == {"f2"}


def test_the_same_posts_give_the_same_digest_in_any_order(warehouse, put_posts):
    rng = np.random.default_rng(5)
    posts = [
        {"feedback_id": f"shop:{n}", "label": CLASSES[true], "scored": CLASSES[predicted]}
        for n, (true, predicted) in enumerate(rng.integers(0, 3, (60, 2)).tolist())
    ]
    digests = []
    for ordered in (posts, posts[::-1]):
        put_posts(*ordered)
        with warehouse.transaction() as transaction:
            transaction.connection.execute("DELETE FROM sentiment_evaluation")
            refresh_sentiment_evaluation(transaction)
            digests.append(transaction.digest(SENTIMENT_EVALUATION))
    assert digests[0] == digests[1]
    assert digests[0][0] == 2 * 4


def test_posts_are_counted_by_the_range_of_their_score(put_posts, warehouse):
    def post(compound, label):
        return {"compound": compound, "label": label, "scored": "neutral"}

    put_posts(
        *(post(c, "negative") for c in (-1.0, -0.81)),
        post(0.0, "neutral"),
        post(0.1, "positive"),
        post(1.0, "positive"),
    )
    with warehouse.transaction() as transaction:
        refresh_sentiment_evaluation(transaction)
        rows = transaction.arrow("SELECT * FROM sentiment_calibration ORDER BY bin").to_pylist()
    assert [(r["bin"], r["post_count"], r["mean_compound"]) for r in rows] == [
        (0, 2, -0.905),
        (5, 2, 0.05),
        (9, 1, 1.0),
    ]
    assert [(r["negative_share"], r["positive_share"]) for r in rows] == [(1, 0), (0, 0.5), (0, 1)]
    assert rows[0]["negative_low_share"] < 1


def test_the_surest_mistakes_are_the_examples(put_posts, warehouse):
    wrong = [{"compound": c / 10, "label": "negative", "scored": "positive"} for c in range(1, 6)]
    put_posts(*wrong, {"compound": 0.9, "label": "positive", "scored": "positive"})
    with warehouse.transaction() as transaction:
        refresh_sentiment_evaluation(transaction)
        rows = transaction.arrow("SELECT * FROM sentiment_confusions ORDER BY rank").to_pylist()
    assert [(r["rank"], r["feedback_id"], r["post_count"]) for r in rows] == [
        (1, "shop:4", 5),
        (2, "shop:3", 5),
        (3, "shop:2", 5),
    ]
