"""The batch analyzer gives NLTK's results, digit for digit, for any text: real, fuzzed and hostile."""

import json
import os
import random
import string
import sys
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.sentiment.vader import VaderConstants

from data_platform.sentiment import vader_batch
from data_platform.sentiment.vader import load_analyzer
from data_platform.sentiment.vader_batch import KEYS, BatchAnalyzer

FUZZ_TEXTS = int(os.environ.get("FEEDBACK_FUZZ_TEXTS", "100000"))
FUZZ_SEED = int(os.environ.get("FEEDBACK_FUZZ_SEED", "1"))
NLTK = load_analyzer()
PHRASES = [*VaderConstants.BOOSTER_DICT, *VaderConstants.SPECIAL_CASE_IDIOMS]
NAMED = ("but", "least", "at", "very", "kind", "of", "so", "this", "never", "no")
RULE_WORDS = [
    *{word for phrase in PHRASES for word in [phrase, *phrase.split()]},
    *VaderConstants.NEGATE,
    *NAMED,
]
LEXICON_WORDS = sorted(NLTK.lexicon)


def differences(analyzer: BatchAnalyzer, texts: Sequence[str]) -> list[str]:
    """Return the texts whose scores are not those of NLTK; -0.0 differs from 0.0."""
    scores = analyzer.score(pa.array(texts, pa.string()))
    found = []
    for index, text in enumerate(texts):
        expected = NLTK.polarity_scores(text)
        if any(repr(float(scores[n][index])) != repr(float(expected[k])) for n, k in KEYS.items()):
            found.append(text)
    return found


def mutated(word: str, storm: random.Random) -> str:
    """Return the word in some case, perhaps with punctuation glued to it."""
    case = storm.randrange(8)
    if case < 3:
        word = (str.upper, str.title, str.swapcase)[case](word)
    elif case == 3:
        word = "".join(storm.choice((c.upper(), c.lower())) for c in word)
    glued = storm.randrange(10)
    if glued < 4:
        mark = storm.choice([*VaderConstants.PUNC_LIST, "!!!!", "#", "(", "...", "@", "’", ".!"])
        word = (mark + word, word + mark, mark + word + mark, word + mark + "x")[glued]
    return word


def fuzz(count: int, seed: int) -> Iterator[str]:
    """Yield texts of rule words, lexicon words, neutral words, letters and random Unicode."""
    storm = random.Random(seed)
    neutral = ["phone", "PHONE", "the", "a", "1", "flight", "x", "n't", "isn't", "can\u2019t", "é"]
    vocabularies = (RULE_WORDS, RULE_WORDS, LEXICON_WORDS, LEXICON_WORDS, neutral)
    for number in range(count):
        length = storm.randrange(1, 16)
        if number % 5 < 3:
            words = [
                mutated(storm.choice(storm.choice(vocabularies)), storm) for _ in range(length)
            ]
            yield storm.choice((" ", " ", "  ", "\n", "\u2003")).join(words)
        elif number % 5 == 3:
            alphabet = string.ascii_letters + string.punctuation + "     !!??"
            yield "".join(storm.choices(alphabet, k=storm.randrange(80)))
        else:
            codes = (storm.randrange(0x20, 0x3000) for _ in range(storm.randrange(40)))
            yield "".join(chr(c) if storm.random() < 0.8 else " good " for c in codes)


def test_fuzzed_texts_have_the_scores_of_nltk():
    analyzer = BatchAnalyzer(NLTK)
    texts = list(fuzz(FUZZ_TEXTS, FUZZ_SEED))
    for start in range(0, len(texts), 5_000):
        assert differences(analyzer, texts[start : start + 5_000]) == []


WORDS = st.one_of(
    st.sampled_from(RULE_WORDS),
    st.sampled_from(LEXICON_WORDS),
    st.text(min_size=1, max_size=4),
    st.sampled_from(["phone", "A", "!", "??", "n't", ":)", "GOOD", "never", "so", "but", "BUT"]),
)
ANALYZER = BatchAnalyzer(NLTK)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=8))
def test_any_batch_has_the_scores_of_nltk(texts):
    assert differences(ANALYZER, texts) == []


@pytest.mark.parametrize(
    "text",
    [
        "Kind of good",
        "kind Of good and kind of bad",
        "not good and good",
        "GOOD phone GOOD",
        "good but bad BUT great",
        "but",
        "never so good",
        "at least good",
        "the least good",
        "this good so bad",
        "very least good",
        "good!!!!! bad?????",
        "good bad" + "?" * 4,
        "the shit the bomb bad ass yeah right cut the mustard kiss of death hand to mouth",
        "a b c d",
        ":) :( :D >:-(",
        "good " * 5_000,
        "FORGIVINGLY traumatises nor arent; KINDOF CWOt; IgnOrIng isn't(",  # -0.0
        "",
        " ",
        "0",
    ],
)
def test_a_rule_is_followed(text):
    assert differences(BatchAnalyzer(NLTK), [text, "neutral words", text]) == []


def test_real_texts_have_the_scores_of_nltk(test_data):
    texts = test_data("airline_tweets.csv").read_text("utf-8").split("\n")
    for path in sorted(test_data("language").glob("*_test_text.txt")):
        texts += path.read_text("utf-8").split("\n")
    texts += [
        entry["original"]
        for entry in json.loads(test_data("text/ftfy_in-the-wild.json").read_text("utf-8"))
    ]
    analyzer = BatchAnalyzer(NLTK)
    for start in range(0, len(texts), 5_000):
        assert differences(analyzer, texts[start : start + 5_000]) == []


def test_white_space_is_that_of_python():
    """NLTK cuts texts by str.split, the batch by Arrow: both must know the same white space."""
    characters = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
    texts = [f"a{c}b" for c in characters]
    lists = pc.utf8_split_whitespace(pa.array(texts))
    by_arrow = pc.list_value_length(lists).to_pylist()
    assert by_arrow == [len(text.split()) for text in texts]


def test_tables_that_are_full_start_anew_and_change_nothing(monkeypatch):
    monkeypatch.setattr(vader_batch, "MAX_WORDS", 200)
    monkeypatch.setattr(vader_batch, "MAX_WINDOWS", 50)
    analyzer = BatchAnalyzer(NLTK)
    texts = list(fuzz(600, seed=2))
    for start in range(0, len(texts), 10):
        assert differences(analyzer, texts[start : start + 10]) == []
        assert len(analyzer._number_of_token) < 400
        assert len(analyzer._valence_of_window) < 200
