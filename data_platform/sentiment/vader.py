"""VADER by NLTK (Hutto & Gilbert 2014), with the lexicon of the vaderSentiment distribution."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.sentiment.models import SCORES_SCHEMA, ModelIdentity
from data_platform.sentiment.vader_batch import BatchAnalyzer

if TYPE_CHECKING:
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

# "standardized thresholds" of the authors: README of cjhutto/vaderSentiment, About the Scoring.
POSITIVE_FROM = 0.05
NEGATIVE_UP_TO = -0.05
BATCH_TEXTS, FEWEST_TEXTS = 20_000, 2_000


class VaderModel:
    """NLTK's rules over whole columns, with NLTK's results digit for digit; English only.

    Args:
        threads: how many batches are scored at the same time; the order stays.
        words: further words, or other valences (-4 to 4) of words in the lexicon.
    """

    def __init__(self, threads: int = 1, words: Mapping[str, float] | None = None) -> None:
        self.threads = threads
        self.words = dict(words or {})

    @cached_property
    def identity(self) -> ModelIdentity:
        engine = version("nltk")
        lexicon_hash = sha256(_lexicon_text().encode()).hexdigest()
        options = f"thresholds {NEGATIVE_UP_TO} {POSITIVE_FROM}"
        if self.words:
            options += f" words {sorted(self.words.items())}"
        fingerprint = sha256(f"vader|nltk {engine}|{lexicon_hash}|{options}".encode()).hexdigest()
        return ModelIdentity("vader", f"nltk {engine}", fingerprint)

    def score(self, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
        chunks = [texts] if isinstance(texts, pa.Array) else texts.chunks
        # Each thread has a part of a day that is smaller than a batch, too.
        size = min(BATCH_TEXTS, max(FEWEST_TEXTS, -(-len(texts) // self.threads)))
        batches = [
            chunk.slice(start, size) for chunk in chunks for start in range(0, len(chunk), size)
        ]
        analyzer = self._analyzer
        if len(batches) < 2 or self.threads < 2:
            scored = [_score_batch(analyzer, batch) for batch in batches]
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                scored = list(pool.map(_score_batch, repeat(analyzer), batches))
        return pa.concat_tables([SCORES_SCHEMA.empty_table(), *scored])

    @cached_property
    def _analyzer(self) -> BatchAnalyzer:
        analyzer = load_analyzer()
        analyzer.lexicon |= self.words
        return BatchAnalyzer(analyzer)


def _score_batch(analyzer: BatchAnalyzer, texts: pa.Array) -> pa.Table:
    scores = analyzer.score(pc.fill_null(texts, ""))
    is_null = pc.is_null(texts).to_numpy(zero_copy_only=False)
    columns = [pa.array(scores[name], mask=is_null) for name in SCORES_SCHEMA.names[:-1]]
    labels = pa.array(labels_of(scores["compound"]), pa.string(), mask=is_null)
    return pa.table([*columns, labels], SCORES_SCHEMA)


def labels_of(compound: npt.NDArray[np.float64]) -> npt.NDArray[np.str_]:
    """Return negative, neutral or positive for compound scores (-1 to 1)."""
    is_polar = [compound >= POSITIVE_FROM, compound <= NEGATIVE_UP_TO]
    return np.select(is_polar, ["positive", "negative"], "neutral")


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
