"""Which model is current, and how a new one differs before it becomes so."""

from datetime import date

import pyarrow as pa
import pytest

from data_platform.errors import ConfigurationError
from data_platform.schemas import SENTIMENT_SCORES
from data_platform.sentiment.comparison import (
    activate_model,
    active_fingerprint,
    read_models,
    refresh_model_comparison,
)
from data_platform.sentiment.models import ModelIdentity
from data_platform.sentiment.scoring import Scoring
from data_platform.sentiment.vader import VaderModel
from data_platform.storage.days import DaySpan
from data_platform_tests.reporting.conftest import insert
from data_platform_tests.sentiment.conftest import POSTED_AT

DAYS = DaySpan.of(POSTED_AT.date())
LATEST = ModelIdentity("vader", "2", "f2")


@pytest.fixture
def scored_again(warehouse):
    """Add scores of posts by the model f2: feedback_id to label and compound."""

    def add(**scores):
        with warehouse.transaction() as transaction:
            for number, (label, compound) in scores.items():
                row = {
                    "feedback_id": f"shop:{number.removeprefix('n')}",
                    "posted_at": POSTED_AT,
                    "scored_text_hash": "t",
                    "model_fingerprint": "f2",
                    "model_version": "2",
                    "label": label,
                    "compound": compound,
                }
                insert(transaction, SENTIMENT_SCORES, row)

    return add


@pytest.fixture
def compare(warehouse):
    def refresh(latest=LATEST):
        with warehouse.transaction() as transaction:
            refresh_model_comparison(transaction, latest)
            return transaction.arrow("SELECT * FROM model_comparison").to_pylist()

    return refresh


def test_two_models_are_compared_on_the_texts_that_both_have_scored(
    put_posts, scored_again, compare
):
    put_posts(
        {"scored": "negative", "compound": -0.5, "label": "negative"},
        {"scored": "neutral", "compound": 0.0, "label": "negative"},
        {"scored": "positive", "compound": 0.5},
        {"scored": "positive", "compound": 0.5},
    )
    scored_again(n0=("negative", -0.7), n1=("negative", -0.3), n2=("positive", 0.5))
    (row,) = compare()
    assert (row["feed"], row["former_fingerprint"], row["post_count"]) == ("shop", "f1", 3)
    assert row["agreement_share"] == pytest.approx(2 / 3, abs=1e-6)
    assert row["mean_difference"] == pytest.approx(-0.5 / 3, abs=1e-6)
    assert row["mean_absolute_difference"] == pytest.approx(0.5 / 3, abs=1e-6)
    assert (row["former_negative_share"], row["negative_share"]) == (
        pytest.approx(1 / 3, abs=1e-6),
        pytest.approx(2 / 3, abs=1e-6),
    )
    assert (row["judged_count"], row["former_right_share"], row["right_share"]) == (2, 0.5, 1.0)
    assert not row["is_active"]


def test_scores_of_former_texts_are_not_compared(put_posts, scored_again, compare):
    put_posts({"scored_text_hash": "edited"}, {})
    scored_again(n0=("negative", -0.7), n1=("neutral", 0.0))
    (row,) = compare()
    assert row["post_count"] == 1


def test_one_model_is_compared_with_nothing(put_posts, compare):
    put_posts({}, {})
    assert compare(ModelIdentity("vader", "1", "f1")) == []


def test_a_model_is_made_current_by_the_first_characters(put_posts, scored_again, warehouse):
    put_posts({}, {})
    scored_again(n0=("negative", -0.7), n1=("neutral", 0.0))
    with warehouse.transaction() as transaction:
        assert activate_model(transaction, "f2") == ModelIdentity("", "2", "f2")
        assert active_fingerprint(transaction) == "f2"
        current = transaction.arrow("SELECT label FROM current_sentiment ORDER BY 1")
        assert current["label"].to_pylist() == ["negative", "neutral"]
        assert [m["is_active"] for m in read_models(transaction)].count(True) == 1


@pytest.mark.parametrize(("fingerprint", "told"), [("f", "2 models"), ("x", "No model")])
def test_a_model_that_is_not_known_is_refused(
    put_posts, scored_again, warehouse, fingerprint, told
):
    put_posts({})
    scored_again(n0=("negative", -0.7))
    with (
        pytest.raises(ConfigurationError, match=f"^{told}.* data-platform models"),
        warehouse.transaction() as transaction,
    ):
        activate_model(transaction, fingerprint)


class TestActivation:
    """When the scores of a new model become the current ones."""

    TEXTS = ({"body_clean": "sick"}, {"body_clean": "good", "language": "en"})

    @pytest.fixture
    def refresh(self, put_posts, warehouse):
        put_posts(*({**post, "model_fingerprint": "f1"} for post in self.TEXTS))

        def run(**options):
            scoring = Scoring(VaderModel(words={"sick": 3.0}), ["en"], **options)
            scoring.refresh_days(warehouse, DAYS)
            with warehouse.transaction() as transaction:
                return active_fingerprint(transaction) == scoring.model.identity.fingerprint

        return run

    def test_they_do_when_every_text_has_one(self, refresh):
        assert refresh()

    def test_they_wait_for_a_person_if_told_to(self, refresh, warehouse):
        assert not refresh(waits=True)
        with warehouse.transaction() as transaction:
            assert len(transaction.arrow("SELECT * FROM current_sentiment")) == 2

    def test_they_do_not_while_a_day_has_none(self, put_posts, warehouse):
        earlier = POSTED_AT.replace(day=1)
        put_posts({"body_clean": "sick"}, {"body_clean": "good", "posted_at": earlier})
        scoring = Scoring(VaderModel(words={"sick": 3.0}), ["en"])
        scoring.refresh_days(warehouse, DAYS)
        with warehouse.transaction() as transaction:
            assert active_fingerprint(transaction) == "f1"
        scoring.refresh_days(warehouse, DaySpan.of(earlier.date()))
        with warehouse.transaction() as transaction:
            assert active_fingerprint(transaction) == scoring.model.identity.fingerprint

    def test_days_before_the_first_open_one_do_not_hold_them_up(self, put_posts, warehouse):
        earlier = POSTED_AT.replace(day=1)
        put_posts({"body_clean": "sick"}, {"body_clean": "good", "posted_at": earlier})
        scoring = Scoring(VaderModel(words={"sick": 3.0}), ["en"], date(2026, 3, 2))
        scoring.refresh_days(warehouse, DAYS)
        with warehouse.transaction() as transaction:
            assert active_fingerprint(transaction) == scoring.model.identity.fingerprint


def test_own_words_change_scores_and_the_fingerprint():
    usual, own = VaderModel(), VaderModel(words={"sick": 3.0})
    (before,), (after,) = (
        m.score(pa.array(["this is sick"]))["compound"].to_pylist() for m in (usual, own)
    )
    assert before < 0 < after
    assert usual.identity.fingerprint != own.identity.fingerprint
    assert usual.identity == VaderModel(words={}).identity
