"""VADER's scores are NLTK's own, whatever the order and company of the texts."""

import numpy as np
import pyarrow as pa
import pytest

from data_platform.sentiment import vader
from data_platform.sentiment.models import SCORES_SCHEMA
from data_platform.sentiment.vader import VaderModel, labels_of, load_analyzer

TEXTS = [
    "I love it",
    "",
    "not good and good",
    "GREAT!!! :)",
    "kiss of death",
    "❤️ 😡",
    "a\x00b",
    "I love it",
]


def test_scores_equal_nltk_one_text_at_a_time():
    analyzer = load_analyzer()
    scores = VaderModel().score(pa.array(TEXTS)).to_pylist()
    for text, score in zip(TEXTS, scores, strict=True):
        one = analyzer.polarity_scores(text)
        assert (score["negative"], score["neutral"], score["positive"], score["compound"]) == (
            one["neg"],
            one["neu"],
            one["pos"],
            one["compound"],
        )


def test_no_texts_give_no_scores():
    for texts in (pa.array([], pa.string()), pa.chunked_array([], pa.string())):
        assert VaderModel().score(texts) == SCORES_SCHEMA.empty_table()


def test_a_null_has_null_scores_and_a_text_without_words_has_zeros():
    null, empty = VaderModel().score(pa.array([None, " . "], pa.string())).to_pylist()
    assert null == dict.fromkeys(SCORES_SCHEMA.names)
    assert empty == {**dict.fromkeys(SCORES_SCHEMA.names, 0.0), "label": "neutral"}


def test_threads_change_neither_order_nor_result(monkeypatch):
    monkeypatch.setattr(vader, "BATCH_TEXTS", 7)
    monkeypatch.setattr(vader, "FEWEST_TEXTS", 1)
    texts = pa.chunked_array([[f"{text} {n}" for text in TEXTS] for n in range(40)])
    expected = VaderModel(threads=1).score(texts)
    for _ in range(3):
        assert VaderModel(threads=4).score(texts) == expected


@pytest.mark.parametrize(
    ("compound", "label"),
    [(0.05, "positive"), (0.0499, "neutral"), (-0.05, "negative"), (-0.0499, "neutral")],
)
def test_labels_follow_the_authors_thresholds(compound, label):
    assert labels_of(np.array([compound])).tolist() == [label]


def test_the_identity_says_engine_and_fingerprint():
    identity = VaderModel().identity
    assert identity.name == "vader"
    assert identity.version.startswith("nltk 3.")
    assert len(identity.fingerprint) == 64
    assert identity == VaderModel(threads=8).identity
