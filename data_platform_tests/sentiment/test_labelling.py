"""What a person is asked to judge, and what becomes of the answers."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from data_platform.sentiment.evaluation import refresh_sentiment_evaluation
from data_platform.sentiment.labelling import forget_labels, keep_label, posts_to_label

AT = datetime(2026, 3, 5, tzinfo=UTC)


def chosen(warehouse, count=100, seed="1", **which):
    with warehouse.transaction() as transaction:
        return posts_to_label(transaction, count, seed=seed, **which).to_pylist()


def judge(warehouse, number, label, text_hash="t"):
    with warehouse.transaction() as transaction:
        keep_label(transaction, f"shop:{number}", text_hash, label, "random", AT)


def scored(label, compound, count, **columns):
    post = {"scored": label, "compound": compound, "body_clean": "so it is", **columns}
    return [post] * count


@pytest.fixture
def posts(put_posts):
    put_posts(
        *scored("positive", 0.9, 90),
        *scored("positive", 0.06, 2),
        *scored("neutral", 0.0, 6),
        *scored("negative", -0.5, 2),
    )


@pytest.mark.usefixtures("posts")
def test_rare_classes_are_judged_as_often_as_common_ones(warehouse):
    found = chosen(warehouse, count=6)
    assert Counter(post["label"] for post in found) == {"positive": 2, "neutral": 2, "negative": 2}


@pytest.mark.usefixtures("posts")
def test_uncertain_posts_come_first_and_take_turns_with_random_ones(warehouse):
    positive = [post for post in chosen(warehouse) if post["label"] == "positive"]
    assert positive[0]["compound"] == 0.06
    assert [post["selection"] for post in positive[:2]] == ["uncertain", "random"]
    assert len(positive) == 92


@pytest.mark.usefixtures("posts")
def test_nobody_is_asked_twice(warehouse):
    judge(warehouse, 98, "negative")
    assert "shop:98" not in {post["feedback_id"] for post in chosen(warehouse)}
    with warehouse.transaction() as transaction:
        forget_labels(transaction, ["shop:98"])
    assert "shop:98" in {post["feedback_id"] for post in chosen(warehouse)}


@pytest.mark.usefixtures("posts")
def test_the_last_word_counts(warehouse):
    judge(warehouse, 98, "negative")
    judge(warehouse, 98, "neutral")
    with warehouse.transaction() as transaction:
        rows = transaction.arrow("SELECT label FROM human_labels").to_pylist()
    assert rows == [{"label": "neutral"}]


def test_a_feed_or_a_language_can_be_asked_for(put_posts, warehouse):
    text = {"body_clean": "so it is"}
    put_posts(text, {**text, "feed": "forum"}, {**text, "language": "de"})
    assert {p["feed"] for p in chosen(warehouse, feed="forum")} == {"forum"}
    assert {p["language"] for p in chosen(warehouse, language="de")} == {"de"}


def test_copies_and_texts_without_words_are_not_asked_for(put_posts, warehouse):
    put_posts({"body_clean": "so it is", "duplicate_of": "shop:9"}, {"body_clean": "!"})
    assert chosen(warehouse) == []


def test_another_seed_draws_other_lots(put_posts, warehouse):
    put_posts(*scored("neutral", 0.0, 50))
    orders = [[p["feedback_id"] for p in chosen(warehouse, seed=seed)] for seed in ("1", "1", "2")]
    assert orders[0] == orders[1] != orders[2]


def test_what_a_person_says_is_an_evaluation_of_its_own(put_posts, warehouse):
    put_posts({"scored": "negative"}, {"scored": "positive"}, {"scored_text_hash": "edited"})
    judge(warehouse, 0, "negative")
    judge(warehouse, 1, "negative")
    judge(warehouse, 2, "negative")  # of a text that was edited since
    with warehouse.transaction() as transaction:
        refresh_sentiment_evaluation(transaction)
        rows = transaction.arrow(
            "SELECT truth, support_count, recall_share FROM sentiment_evaluation"
            " WHERE label = 'negative' AND language = 'all'"
        ).to_pylist()
        confusions = transaction.arrow("SELECT * FROM sentiment_confusions").to_pylist()
        calibration = transaction.arrow("SELECT * FROM sentiment_calibration").to_pylist()
    assert rows == [{"truth": "human", "support_count": 2, "recall_share": 0.5}]
    assert [(c["true_label"], c["predicted_label"], c["feedback_id"]) for c in confusions] == [
        ("negative", "positive", "shop:1")
    ]
    assert [c["post_count"] for c in calibration] == [2]
