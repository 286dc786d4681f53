"""Tests that there are enough phrases, and that they say what their heading says."""

from itertools import pairwise

import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from data_platform.sample.phrases import (
    KINDS,
    LANGUAGES,
    SENTIMENTS,
    build_pool,
    read_phrases,
    templates_of,
)

TOPICS = ("flight", "coffee", "phone")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("sentiment", SENTIMENTS)
def test_templates_are_many_and_differ(language, sentiment):
    phrases = read_phrases()[language]
    templates = {t for topic in TOPICS for t in templates_of(phrases, sentiment, topic)}
    templates |= set(templates_of(phrases, f"short_{sentiment}", "flight"))
    assert len(templates) >= (60 if language == "en" else 25)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_language_and_kind_has_sentences_without_open_slots(topic):
    pool = build_pool(topic, 7)
    assert pool.sizes.shape == (len(LANGUAGES), len(KINDS))
    assert pool.sizes.min() > 0
    assert pool.sizes.sum() == len(pool.sentences)
    assert not [sentence for sentence in pool.sentences.to_pylist() if set("{}") & set(sentence)]


@pytest.mark.parametrize("topic", TOPICS)
def test_english_sentences_carry_their_sentiment_for_vader(topic):
    pool, vader = build_pool(topic, 7), SentimentIntensityAnalyzer()
    means = []
    for kind in ("negative", "neutral", "positive"):
        start, size = (int(part[0, KINDS.index(kind)]) for part in (pool.starts, pool.sizes))
        sentences = pool.sentences.slice(start, size).to_pylist()
        scores = [vader.polarity_scores(sentence)["compound"] for sentence in sentences]
        means.append(sum(scores) / size)
    assert means == sorted(means)
    assert all(above - below > 0.4 for below, above in pairwise(means))
    assert abs(means[1]) < 0.1
