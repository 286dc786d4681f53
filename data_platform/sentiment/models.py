"""The interface of a sentiment model, and what identifies one."""

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

SCORES_SCHEMA = pa.schema(
    [
        ("negative", pa.float64()),
        ("neutral", pa.float64()),
        ("positive", pa.float64()),
        ("compound", pa.float64()),
        ("label", pa.string()),
    ]
)


@dataclass(frozen=True)
class ModelIdentity:
    """What is stored with each score.

    Attributes:
        fingerprint: SHA-256 over everything that can change a score: engine, lexicon, options.
    """

    name: str
    version: str
    fingerprint: str


class SentimentModel(Protocol):
    """Gives texts scores; deterministic, and independent of the order and company of texts."""

    @property
    def identity(self) -> ModelIdentity:
        """Name, version and fingerprint; cheap to ask, without loading the model."""
        ...

    def score(self, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
        """Return one row of SCORES_SCHEMA for each text, in order.

        `compound` is -1 to 1; negative, neutral and positive are shares of the text, 0 to 1, and
        all 0 for a text without words. A null text has null scores.
        """
        ...
