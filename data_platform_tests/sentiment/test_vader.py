"""VADER's scores are NLTK's own, whatever the order and company of the texts."""

import pyarrow as pa
import pytest

from data_platform.sentiment.vader import VaderModel, label_of, load_analyzer

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
    assert VaderModel().score(pa.array([], pa.string())).num_rows == 0


@pytest.mark.parametrize(
    ("compound", "label"),
    [(0.05, "positive"), (0.0499, "neutral"), (-0.05, "negative"), (-0.0499, "neutral")],
)
def test_labels_follow_the_authors_thresholds(compound, label):
    assert label_of(compound) == label


def test_the_identity_says_engine_and_fingerprint():
    identity = VaderModel().identity
    assert identity.name == "vader"
    assert identity.version.startswith("nltk 3.")
    assert len(identity.fingerprint) == 64
    assert identity == VaderModel().identity
