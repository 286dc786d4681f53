"""A model that changes, and posts judged by hand, as their users meet them."""

import json

import pytest
import yaml
from click.testing import CliRunner

from data_platform.cli import main
from data_platform_tests.pipeline.conftest import SHOP

POSTS = [
    {"id": "1", "at": "2026-03-02T10:00:00Z", "text": "That trick was sick", "user": "ann"},
    {"id": "2", "at": "2026-03-02T11:00:00Z", "text": "I love this shop", "user": "bo"},
    {"id": "3", "at": "2026-03-03T11:00:00Z", "text": "Sick board, \x1b[31mreally", "user": "cy"},
]
NEGATIVE = "SELECT date, negative_count, scored_count FROM daily_sentiment ORDER BY date"
BEFORE = [1, 1]
AFTER = [0, 0]


@pytest.fixture
def shop_with_scores(shop):
    shop.deliver("a.csv", POSTS, day=1)
    shop.run()
    assert negative(shop) == BEFORE
    return shop


def negative(shop):
    rows = shop.published(NEGATIVE)
    assert [row[2] for row in rows] == [2, 1]
    return [row[1] for row in rows]


def configure(shop, **sentiment):
    path = shop.folder / "feedback.yaml"
    path.write_text(yaml.safe_dump({**SHOP, "sentiment": sentiment}), encoding="utf-8")


def failing(shop):
    status = json.loads(shop.cli("status", "--json"))
    return [check["check"] for check in status["automation"]["failing_checks"]]


def test_another_model_is_current_when_it_has_scored_every_text(shop_with_scores):
    shop = shop_with_scores
    configure(shop, words={"sick": 3.0})
    assert shop.run()["failures"] == []
    assert negative(shop) == AFTER
    (row,) = shop.published(
        "SELECT post_count, agreement_share, is_active, former_negative_share FROM model_comparison"
    )
    assert row == (3, pytest.approx(1 / 3, abs=1e-6), True, pytest.approx(2 / 3, abs=1e-6))
    assert shop.rows("SELECT count(*) FROM sentiment_scores") == [(6,)]
    assert "33.3% of 3 labels agree" in shop.cli("models")
    assert failing(shop) == []
    assert shop.run()["changed_table_days"] == 0


def test_it_waits_for_a_person_where_that_is_wanted(shop_with_scores):
    """The difference is there to be seen while the former scores are still the current ones."""
    shop = shop_with_scores
    configure(shop, words={"sick": 3.0}, new_model="wait")
    shop.run()
    assert negative(shop) == BEFORE
    assert failing(shop) == ["the_configured_model_is_current"]
    document = json.loads(shop.cli("models", "--json"))
    (difference,) = document["comparison"]
    assert not difference["is_active"]
    (waiting,) = [m for m in document["models"] if not m["is_active"]]
    shop.cli("models", "activate", "f" * 64, code=2)
    shop.cli("models", "activate", waiting["model_fingerprint"][:10])
    shop.run()
    assert negative(shop) == AFTER
    assert failing(shop) == []


@pytest.mark.parametrize(
    ("words", "told"), [({"two words": 1}, "one word"), ({"Sick": 1}, "lower"), ({"a": 5}, "-4")]
)
def test_words_that_the_model_could_not_use_are_refused(shop, words, told):
    configure(shop, words=words)
    assert told in shop.cli("check", code=2)


def label(shop, keys, *options):
    done = CliRunner().invoke(main, ["label", *options], env=shop.environment, input=keys)
    assert done.exit_code == 0, done.output
    return done.output


def test_posts_are_judged_one_by_one_and_feed_the_evaluation(shop_with_scores):
    shop = shop_with_scores
    told = label(shop, "ppp")
    assert "Kept: 3 (0 negative, 0 neutral, 3 positive); the model agrees with 1." in told
    assert "\x1b" not in told
    shop.run()
    assert shop.published(
        "SELECT truth, support_count, recall_share FROM sentiment_evaluation"
        " WHERE label = 'positive' AND language = 'all'"
    ) == [("human", 3, pytest.approx(1 / 3, abs=1e-6))]
    assert "No scored post is left" in label(shop, "")


def test_a_judgement_is_taken_back_and_the_rest_is_left_for_later(shop_with_scores):
    shop = shop_with_scores
    assert "Kept: 1 (1 negative" in label(shop, "xpzns")
    assert shop.rows("SELECT label FROM human_labels") == [("negative",)]
    assert "Kept: 0" in label(shop, "q")
    assert "1 of 1" in label(shop, "", "--count", "1")
    told = CliRunner().invoke(main, ["label", "--feed", "shpo"], env=shop.environment)
    assert (told.exit_code, "shop" in told.output) == (2, True)


def test_what_was_judged_leaves_with_a_deleted_post(shop_with_scores):
    shop = shop_with_scores
    label(shop, "ppp")
    shop.deliver("b.csv", [{"id": "2", "at": POSTS[1]["at"], "deleted": "true"}], day=2)
    shop.run()
    rows = "SELECT DISTINCT sample_count FROM sentiment_evaluation WHERE language = 'all'"
    assert shop.published(rows) == [(2,)]
