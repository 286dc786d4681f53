"""Sentences of made-up customers: the templates of `phrases.yaml`, filled, with slips of the pen."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from data_platform.sample.randomness import Integers, Numbers, draw_below, stream

LANGUAGES = ("en", "de", "es", "fr")
SENTIMENTS = ("positive", "neutral", "negative", "mixed")
SHORTS = tuple(f"short_{sentiment}" for sentiment in SENTIMENTS)
KINDS = (*SENTIMENTS, *SHORTS, "opener", "incident", "edit", "agent", "campaign")
VARIANTS = 16  # of a template; enough that a million posts of two sentences rarely repeat
EMPHASIS_SHARE, TYPO_SHARE = 0.12, 0.05


@dataclass(frozen=True)
class SentencePool:
    """Ready sentences about one topic, kept together by language and kind (see `KINDS`).

    Attributes:
        sentences: All sentences, one language and kind after the other.
        starts: First position of each cell, [language, kind].
        sizes: Number of sentences of each cell, [language, kind].
    """

    sentences: pa.Array
    starts: Integers
    sizes: Integers

    def draw(self, language: Integers, kind: Integers, draws: Numbers) -> Integers:
        """Return the positions of one random sentence for each language and kind."""
        return self.starts[language, kind] + draw_below(self.sizes[language, kind], draws)

    def pick(self, language: str, kind: str, draw: float) -> str:
        """Return one random sentence."""
        cell = LANGUAGES.index(language), KINDS.index(kind)
        position = int(self.starts[cell]) + int(draw * int(self.sizes[cell]))
        sentence: str = self.sentences[position].as_py()
        return sentence


@cache
def build_pool(topic: str, seed: int) -> SentencePool:
    """Return the sentences of `topic` (flight, coffee or phone), each template in its variants."""
    rng = stream(seed, f"phrases of {topic}")
    sentences: list[str] = []
    starts = np.zeros((len(LANGUAGES), len(KINDS)), dtype=np.int64)
    sizes = np.zeros_like(starts)
    for row, language in enumerate(LANGUAGES):
        phrases = read_phrases()[language]
        slots = {**phrases["slots"], **phrases["topics"][topic]}
        for column, kind in enumerate(KINDS):
            starts[row, column] = len(sentences)
            for template in templates_of(phrases, kind, topic):
                variants = 1 if kind == "campaign" else VARIANTS
                sentences.extend(_fill(template, slots, variants, rng))
            sizes[row, column] = len(sentences) - starts[row, column]
    return SentencePool(pa.array(sentences, pa.string()), starts, sizes)


@cache
def read_phrases() -> dict[str, Any]:
    """Return the content of `phrases.yaml`: handles, and each language's slots and templates."""
    text = Path(__file__).with_name("phrases.yaml").read_text(encoding="utf-8")
    phrases: dict[str, Any] = yaml.safe_load(text)
    return phrases


def templates_of(phrases: dict[str, Any], kind: str, topic: str) -> list[str]:
    """Return the templates of one language that fit `kind` and `topic`."""
    if kind in SENTIMENTS:
        text: str = phrases[kind]["any"] + phrases[kind][topic]
    elif kind in SHORTS:
        text = phrases[kind.removeprefix("short_")]["short"]
    else:
        text = phrases[kind]
    return text.splitlines()


def _fill(
    template: str, slots: dict[str, list[str]], variants: int, rng: np.random.Generator
) -> Iterator[str]:
    """Yield `variants` sentences; the first keeps the spelling of the template."""
    draws = rng.random((variants, len(slots) + 2)).tolist()
    for number, (slip, place, *choices) in enumerate(draws):
        values = zip(slots.items(), choices, strict=True)
        sentence = template.format(**{name: v[int(u * len(v))] for (name, v), u in values})
        if template.startswith("{"):
            sentence = sentence[0].upper() + sentence[1:]
        if number and slip < EMPHASIS_SHARE:
            sentence = _emphasised(sentence, place)
        elif number and slip < EMPHASIS_SHARE + TYPO_SHARE:
            sentence = _mistyped(sentence, place)
        yield sentence


def _emphasised(sentence: str, place: float) -> str:
    """Return `sentence` as an excited person writes it: GREAT, soooo, !!!!."""
    if sentence.endswith((".", "!")):
        sentence = sentence.rstrip(".!") + "!" * (2 + int(place * 3))
    if " so " in sentence:
        return sentence.replace(" so ", " soooo ", 1)
    words = sentence.split(" ")
    if plain := [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]:
        chosen = plain[int(place * len(plain))]
        words[chosen] = words[chosen].upper()
    return " ".join(words)


def _mistyped(sentence: str, place: float) -> str:
    """Return `sentence` with two inner letters of one long word exchanged."""
    words = sentence.split(" ")
    if plain := [i for i, word in enumerate(words) if len(word) > 5 and word.isalpha()]:
        chosen = plain[int(place * len(plain))]
        word = words[chosen]
        words[chosen] = word[:2] + word[3] + word[2] + word[4:]
    return " ".join(words)
