"""Tests of language identification: who decides, and how often it is right."""

import csv
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_platform.cleaning.language import identify_languages
from data_platform.cleaning.text import clean_text

GERMAN = "Das ist ja wirklich eine Frechheit, nie wieder kaufe ich hier ein"
ENGLISH = "My flight was late again and nobody at the desk could help me"


def identify(text: str | None, declared: str | None = None, default: str | None = None) -> str:
    answer = identify_languages(
        pa.array([text], pa.string()), pa.array([declared], pa.string()), default
    )
    return str(answer.language[0].as_py())


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("pt_BR ", "pt"),
        ("iw", "he"),
        ("und", "de"),
        ("zxx", "de"),
        ("", "de"),
        ("german", "de"),
        (None, "de"),
    ],
)
def test_what_the_source_declares_wins_if_it_is_a_code(declared: str, expected: str) -> None:
    assert identify(GERMAN, declared) == expected


def test_a_confidence_is_given_where_the_model_decided_and_nowhere_else() -> None:
    answer = identify_languages(
        pa.array([GERMAN, GERMAN, "ok", None]), pa.array([None, "de", None, None]), "de"
    )
    assert answer.language.to_pylist() == ["de", "de", "de", "de"]
    first, *others = answer.confidence.to_pylist()
    assert 0.9 < first <= 1
    assert others == [None, None, None]


@pytest.mark.parametrize("text", [None, "", "ok", "😀😀😀", "12345 !!!", "\n", "\x00"])
def test_texts_without_words_take_the_default_or_stay_undetermined(text: str | None) -> None:
    assert identify(text) == "und"
    assert identify(text, default="fr") == "fr"


def test_a_long_text_overrules_the_default_and_a_doubtful_short_one_does_not() -> None:
    assert identify(ENGLISH, default="de") == "en"
    assert identify("na super", default="de") == "de"


def test_where_there_is_no_default_a_probable_language_is_enough() -> None:
    assert identify("alles super danke") == "de"
    assert identify("alles super danke", default="en") == "en"


def test_defaults_may_differ_from_row_to_row() -> None:
    answer = identify_languages(pa.array(["ok", "ok", "ok"]), None, pa.array(["de", None, "fr"]))
    assert answer.language.to_pylist() == ["de", "und", "fr"]


def test_lines_case_and_kind_of_column_do_not_matter() -> None:
    shouted = GERMAN.upper().replace(" ", "\n")
    answer = identify_languages(pa.chunked_array([[shouted], [ENGLISH]]))
    assert answer.language.to_pylist() == ["de", "en"]


def test_no_rows_give_no_rows() -> None:
    answer = identify_languages(pa.array([], pa.string()), pa.array([], pa.string()), "en")
    assert len(answer.language) == len(answer.confidence) == 0


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(st.none(), st.text(max_size=60)), max_size=8))
def test_any_text_gets_a_code_and_a_confidence_in_range(texts: list[str | None]) -> None:
    answer = identify_languages(pa.array(texts, pa.string()))
    for code, confidence in zip(
        answer.language.to_pylist(), answer.confidence.to_pylist(), strict=True
    ):
        assert code == "und" or (len(code) == 2 and code.isascii() and code.islower())
        assert (confidence is None) == (code == "und")
        assert confidence is None or 0 <= confidence <= 1


def corpora() -> Path:
    home = os.environ.get("FEEDBACK_TEST_DATA")
    if not home:
        pytest.skip("FEEDBACK_TEST_DATA is not set: the corpora are not part of the project")
    return Path(home)


@pytest.mark.parametrize(
    ("corpus", "expected", "floor", "floor_with_default"),
    [
        ("english", "en", 0.97, 0.99),
        ("german", "de", 0.86, 0.96),  # 56 of the 870 "German" tweets are in English
        ("spanish", "es", 0.98, 0.99),
        ("airlines", "en", 0.96, 0.99),
    ],
)
def test_real_tweets_are_identified(
    corpus: str, expected: str, floor: float, floor_with_default: float
) -> None:
    home = corpora()
    if corpus == "airlines":
        with (home / "airline_tweets.csv").open(encoding="utf-8", newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file)][:3000]
    else:
        path = home / "language" / f"xlmt_{corpus}_test_text.txt"
        texts = [line for line in path.read_bytes().decode().split("\n") if line]
    cleaned = clean_text(pa.array(texts)).body_clean
    for default, least in ((None, floor), (expected, floor_with_default)):
        codes = identify_languages(cleaned, None, default).language.to_pylist()
        assert codes.count(expected) / len(codes) >= least
