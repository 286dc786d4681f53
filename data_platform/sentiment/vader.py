"""VADER by NLTK (Hutto & Gilbert 2014), with the lexicon of the vaderSentiment distribution."""

from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING

import pyarrow as pa

from data_platform.sentiment.models import SCORES_SCHEMA, ModelIdentity

if TYPE_CHECKING:
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

# "standardized thresholds" of the authors: README of cjhutto/vaderSentiment, About the Scoring.
POSITIVE_FROM = 0.05
NEGATIVE_UP_TO = -0.05


class VaderModel:
    """NLTK's rules, one text at a time, each distinct text once; English only."""

    @cached_property
    def identity(self) -> ModelIdentity:
        engine = version("nltk")
        lexicon_hash = sha256(_lexicon_text().encode()).hexdigest()
        options = f"thresholds {NEGATIVE_UP_TO} {POSITIVE_FROM}"
        fingerprint = sha256(f"vader|nltk {engine}|{lexicon_hash}|{options}".encode()).hexdigest()
        return ModelIdentity("vader", f"nltk {engine}", fingerprint)

    def score(self, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
        chunked = pa.chunked_array([texts]) if isinstance(texts, pa.Array) else texts
        encoded = chunked.combine_chunks().dictionary_encode()
        # NLTK scores one text a call, so this loop is over the distinct texts.
        scores = [self._analyzer.polarity_scores(text) for text in encoded.dictionary.to_pylist()]
        distinct = pa.table(
            {
                "negative": [score["neg"] for score in scores],
                "neutral": [score["neu"] for score in scores],
                "positive": [score["pos"] for score in scores],
                "compound": [score["compound"] for score in scores],
                "label": [label_of(score["compound"]) for score in scores],
            },
            schema=SCORES_SCHEMA,
        )
        return distinct.take(encoded.indices)

    @cached_property
    def _analyzer(self) -> "SentimentIntensityAnalyzer":
        return load_analyzer()


def label_of(compound: float) -> str:
    """Return negative, neutral or positive for a compound score (-1 to 1)."""
    if compound >= POSITIVE_FROM:
        return "positive"
    return "negative" if compound <= NEGATIVE_UP_TO else "neutral"


def load_analyzer() -> "SentimentIntensityAnalyzer":
    """Return NLTK's analyzer with the lexicon from package data.

    NLTK 3.10 refuses lexicons outside of its data folders (nltk issue 3565), so the analyzer is
    filled as its own constructor would fill it. `nltk` is imported here because the import
    costs a second, which only scoring should pay.
    """
    from nltk.sentiment.vader import SentimentIntensityAnalyzer, VaderConstants

    analyzer = SentimentIntensityAnalyzer.__new__(SentimentIntensityAnalyzer)
    analyzer.lexicon_file = _lexicon_text()
    analyzer.lexicon = analyzer.make_lex_dict()
    analyzer.constants = VaderConstants()
    return analyzer


def _lexicon_text() -> str:
    """The lexicon, without the last newline, at which NLTK's parser fails."""
    return files("vaderSentiment").joinpath("vader_lexicon.txt").read_text("utf-8").strip()
