"""Texts and authors of made-up posts, put together column by column from ready sentences."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.sample.phrases import (
    KINDS,
    SENTIMENTS,
    SHORTS,
    SentencePool,
    read_phrases,
)
from data_platform.sample.randomness import Integers, draw_below, draw_shares

INCIDENT_SHARE = 0.75  # of the posts of an incident day: those about the incident
SHORT_SHARE = 0.025
SENTENCE_SHARES = (0.25, 0.5, 0.25)  # of posts with one, two, three sentences
OPENER_SHARES = np.array([0.8, 0.2, 0.1])  # by number of sentences: few posts alike by chance
FOLLOWER_SHARES = (  # kind of the second and third sentence, by sentiment, over SENTIMENTS
    (0.8, 0.2, 0.0, 0.0),
    (0.0, 1.0, 0.0, 0.0),
    (0.0, 0.2, 0.8, 0.0),
    (0.3, 0.1, 0.3, 0.3),
)
SEPARATORS = (" ",) * 30 + ("\n", "\n\n")
ENDINGS = (  # by sentiment
    ("😀", "❤️", "🎉", ":)", ":-D", "👍", "<3", "🙏🏽", "😍😍"),
    ("🤔", "🧳", "☕", "📱", "..."),
    ("😡", "👎", ":(", "😤", "🤬", "💔", ">:(", "😭😭"),
    ("🙃", "😐", ":/", "🤷‍♀️"),
)
ENDING_SHARE = 0.3
MENTIONS = ("@larkwing", "@Larkwing", "@larkwing_care", ".@larkwing")
MENTION_SHARE = 0.5
HASHTAGS = (
    "#larkwing",
    "#Larkwing #travel",
    "#airline",
    "#fail",
    "#checkin",
    "#hopplus",
    "#viajes",
)
HASHTAG_SHARE = 0.2
LINK_HOSTS = ("https://larkwing.example/t/", "https://example.com/p/", "http://go.example/")
LINK_SHARE = 0.12
LINK_CODES = 4096


@dataclass(frozen=True)
class Voice:
    """How a feed's customers write: topic, and shares over `LANGUAGES` and `SENTIMENTS`."""

    topic: str
    languages: tuple[float, ...]
    sentiments: tuple[float, ...]
    is_social: bool = False


@dataclass(frozen=True)
class Drafts:
    """Posts as columns, before a feed gives them ids and its own shape.

    `language` and `sentiment` are positions in `LANGUAGES` and `SENTIMENTS`: what the text was
    made to be.
    """

    language: Integers
    sentiment: Integers
    body: pa.Array
    author: pa.Array


def compose(
    voice: Voice, pool: SentencePool, is_incident: npt.NDArray[np.bool_], rng: np.random.Generator
) -> Drafts:
    """Return one post for each item of `is_incident` (written on a day of the incident or not)."""
    count = len(is_incident)
    language = draw_shares(voice.languages, rng.random(count))
    sentiment = draw_shares(voice.sentiments, rng.random(count))
    complains = is_incident & (rng.random(count) < INCIDENT_SHARE)
    sentiment[complains] = SENTIMENTS.index("negative")
    sentences = _draw_sentences(pool, language, sentiment, complains, rng)
    separator = _choose(SEPARATORS, rng.random(count))
    body = pc.binary_join_element_wise(*sentences, separator, null_handling="skip")
    body = _decorate(body, sentiment, voice.is_social, rng)
    return Drafts(language, sentiment, body, _draw_authors(count, rng))


def escape_entities(body: pa.Array) -> pa.Array:
    """Return texts as a social network's API sends them: &, < and > as HTML entities."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        body = pc.replace_substring(body, sign, entity)
    return body


def _draw_sentences(
    pool: SentencePool,
    language: Integers,
    sentiment: Integers,
    complains: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[pa.Array]:
    """Return opener, first, second and third sentence of each post; null where it has none."""
    count = len(language)
    sentence_count = 1 + draw_shares(SENTENCE_SHARES, rng.random(count))
    sentence_count[complains] = np.maximum(2, sentence_count[complains])
    is_short = (rng.random(count) < SHORT_SHARE) & ~complains
    sentence_count[is_short] = 1
    plain = is_short | (rng.random(count) >= OPENER_SHARES[sentence_count - 1])
    opener = pool.draw(language, np.full(count, KINDS.index("opener")), rng.random(count))
    kind = np.where(is_short, sentiment + KINDS.index(SHORTS[0]), sentiment)
    kind[complains] = KINDS.index("incident")
    first = pool.draw(language, kind, rng.random(count))
    columns = [pool.sentences.take(pa.array(opener, mask=plain)), pool.sentences.take(first)]
    for number in (2, 3):
        draws = rng.random(count)
        follower = np.empty(count, dtype=np.int64)
        for position, shares in enumerate(FOLLOWER_SHARES):
            follower[sentiment == position] = draw_shares(shares, draws[sentiment == position])
        positions = pool.draw(language, follower, rng.random(count))
        columns.append(pool.sentences.take(pa.array(positions, mask=sentence_count < number)))
    return columns


def _decorate(
    body: pa.Array, sentiment: Integers, is_social: bool, rng: np.random.Generator
) -> pa.Array:
    """Return `body` with emoji; on a social network also with mentions, hashtags and links."""
    count = len(body)
    starts = np.cumsum([0, *(len(endings) for endings in ENDINGS)])
    places = starts[sentiment] + draw_below(np.diff(starts)[sentiment], rng.random(count))
    absent = rng.random(count) >= ENDING_SHARE
    ending = pa.array([e for endings in ENDINGS for e in endings])
    parts = [body, ending.take(pa.array(places, mask=absent))]
    if is_social:
        links = [f"{LINK_HOSTS[n % 3]}{n * 7919 + 4096:x}" for n in range(LINK_CODES)]
        parts.insert(0, _choose(MENTIONS, rng.random(count), rng.random(count) < MENTION_SHARE))
        parts.append(_choose(HASHTAGS, rng.random(count), rng.random(count) < HASHTAG_SHARE))
        parts.append(_choose(tuple(links), rng.random(count), rng.random(count) < LINK_SHARE))
    return pc.binary_join_element_wise(*parts, " ", null_handling="skip")


def _choose(
    values: tuple[str, ...],
    draws: npt.NDArray[np.float64],
    present: npt.NDArray[np.bool_] | None = None,
) -> pa.Array:
    """Return one of `values` for each draw; null where not `present`."""
    mask = None if present is None else ~present
    return pa.array(values).take(pa.array(draw_below(len(values), draws), mask=mask))


def _draw_authors(count: int, rng: np.random.Generator) -> pa.Array:
    """Return a handle for each post; a few authors write much, most write once or twice."""
    draws = rng.random(count)
    author = draw_below(max(50, count * 3 // 4), draws * draws)
    starts, ends = (pa.array(words) for words in read_phrases()["handles"].values())
    series = author // (len(starts) * len(ends))
    return pc.binary_join_element_wise(
        starts.take(pa.array(author % len(starts))),
        ends.take(pa.array(author // len(starts) % len(ends))),
        pc.cast(pa.array(series, mask=series == 0), pa.string()),
        "_",
        null_handling="skip",
    )
