"""VADER for whole columns: NLTK's own rules, asked once for each distinct window of words."""

import string
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

WORDS_BEFORE, WORDS_AFTER = 3, 2
MAX_WORDS = 500_000
MAX_WINDOWS = 500_000
CLASS_BITS = 10  # 1,023 classes; NLTK's lexicon and rules make some 300
# Words that the code of NLTK's rules names: in exactly this case, or in any.
NAMED_EXACTLY = {"never", "so", "this"}
NAMED_IN_ANY_CASE = {"least", "at", "very", "kind", "of"}
PUNCTUATION = frozenset(string.punctuation)
MARKS_COUNTED = 5  # more ! or ? than this add nothing (_amplify_ep, _amplify_qm)
NOTHING = 0  # class of the place before the first word and behind the last
DIGITS = {"negative": 3, "neutral": 3, "positive": 3, "compound": 4}
KEYS = {"negative": "neg", "neutral": "neu", "positive": "pos", "compound": "compound"}
# Where a result hangs on the last bits of a sum, NLTK's own arithmetic decides. A sum of floats
# is off by some 1e-16 for each term, and 100,000 terms are more than any post has.
CLOSE = 1e-9


@dataclass(frozen=True)
class _Words:
    """What the rules read of each known word, by the word's number.

    Attributes:
        is_upper: `str.isupper`: emphasis (section 3.2, heuristic 2 of Hutto & Gilbert 2014).
        is_but: the word is `but` (heuristic 4).
        item_class: class of the word as one that is rated; NOTHING if its valence is always 0.
        context_class: class of the word as one that stands near a rated one.
    """

    is_upper: Flags
    is_but: Flags
    item_class: Integers
    context_class: Integers


class BatchAnalyzer:
    """Scores columns of texts exactly as NLTK's `SentimentIntensityAnalyzer` scores each of them.

    Why this is exact:

    1. NLTK cuts a text at white space and bares each token of punctuation; the outcome depends on
       nothing but that token (`SentiText`). So tokens are bared once for each distinct one.
    2. The valence of a word depends on its own lexicon entry and case, on three words before and
       two behind it, and on whether the text mixes upper and lower case (`sentiment_valence`). Of
       the words around it the rules read only a few properties; words with the same ones form a
       class. NLTK's own `sentiment_valence` is asked once for each distinct window of classes,
       with a word of each class: some 30,000 windows stand for a million posts.
    3. What is left is arithmetic on valences: `but` halves what comes before it (`_but_check`),
       sums, punctuation, normalisation and rounding (`score_valence`). NumPy does it in NLTK's
       order; where a rounding or a comparison hangs on the last bits, NLTK's `score_valence` is
       asked itself.

    Safe for several threads. Tables of words and windows start anew when they are full, so that a
    hostile vocabulary cannot fill the memory.
    """

    def __init__(self, analyzer: "SentimentIntensityAnalyzer") -> None:
        self._nltk = analyzer
        self._lexicon: dict[str, float] = analyzer.lexicon
        constants = analyzer.constants
        phrases = chain(constants.SPECIAL_CASE_IDIOMS, constants.BOOSTER_DICT)
        idiom_words = {word for phrase in phrases if " " in phrase for word in phrase.split()}
        self._named_exactly = NAMED_EXACTLY | idiom_words
        self._glued = frozenset(constants.PUNC_LIST)
        self._lock = threading.Lock()
        self._representatives: list[str | None] = [None]  # by class; NOTHING has none
        self._class_of: dict[object, int] = {}
        self._start_anew()

    def _start_anew(self) -> None:
        self._number_of_token: dict[str, int] = {}
        self._number_of_word: dict[str, int] = {}
        self._rows: list[tuple[bool, bool, int, int]] = []
        self._words = _Words(*(np.empty(0, kind) for kind in (bool, bool, np.int64, np.int64)))
        self._valence_of_window: dict[int, float] = {}

    def score(self, texts: pa.Array) -> dict[str, Floats]:
        """Return negative, neutral, positive (0 to 1) and compound (-1 to 1) of each text.

        Args:
            texts: strings without nulls, as many as shall be in memory as tokens at once.
        """
        numbers, starts, words = self._tokenize(texts)
        counts = np.diff(starts)
        is_mixed_case = self._mixes_case(words.is_upper[numbers], starts, counts)
        places = np.flatnonzero(words.item_class[numbers] != NOTHING)
        text_of_place = np.searchsorted(starts, places, side="right") - 1
        valences = self._valences(numbers, starts, words, places, text_of_place, is_mixed_case)
        valences *= self._but_factors(numbers, words, places, text_of_place, starts)
        is_rated = valences != 0
        return self._totals(
            texts, counts, starts, places[is_rated], text_of_place[is_rated], valences[is_rated]
        )

    # --- Step 1: words. NLTK: SentiText._words_and_emoticons

    def _tokenize(self, texts: pa.Array) -> tuple[Integers, Integers, _Words]:
        """Return the numbers of all words, where each text starts in them, and the known words."""
        lists = pc.utf8_split_whitespace(texts)
        tokens = lists.flatten().dictionary_encode()
        with self._lock:
            number_of_code, words = self._know(tokens.dictionary.to_pylist())
        numbers = number_of_code[tokens.indices.to_numpy(zero_copy_only=False)]
        offsets = lists.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        is_word = numbers >= 0
        kept_before = np.concatenate(([0], np.cumsum(is_word)))
        return numbers[is_word], kept_before[offsets - offsets[0]], words

    def _know(self, tokens: Sequence[str]) -> tuple[Integers, _Words]:
        """Return the word number of each token (-1: no word), and the words with all of these."""
        if len(self._number_of_token) + len(tokens) > MAX_WORDS:
            self._start_anew()
        known = self._number_of_token
        known_count = len(self._rows)
        for token in tokens:
            if token not in known:
                known[token] = self._number_word(token) if len(token) > 1 else -1
        if len(self._rows) > known_count:
            columns = list(zip(*self._rows[known_count:], strict=True))
            added = [np.array(column) for column in columns]
            before = self._words
            self._words = _Words(
                np.concatenate((before.is_upper, added[0])),
                np.concatenate((before.is_but, added[1])),
                np.concatenate((before.item_class, added[2])),
                np.concatenate((before.context_class, added[3])),
            )
        return np.fromiter((known[t] for t in tokens), np.int64, len(tokens)), self._words

    def _number_word(self, token: str) -> int:
        word = self._bare(token)
        number = self._number_of_word.setdefault(word, len(self._rows))
        if number == len(self._rows):
            is_but = word.lower() == "but"
            self._rows.append(
                (word.isupper(), is_but, self._item_class(word), self._context_class(word))
            )
        return number

    def _bare(self, token: str) -> str:
        """Return the token without punctuation that is glued to one side of it.

        Only what stands in NLTK's list, and only if no other punctuation is in the token:
        contractions and emoticons stay as they are.
        """
        word = token.lstrip(string.punctuation)
        glued = token[: len(token) - len(word)]
        if not glued:
            word = token.rstrip(string.punctuation)
            glued = token[len(word) :]
        is_bare = len(word) > 1 and PUNCTUATION.isdisjoint(word)
        return word if glued in self._glued and is_bare else token

    # --- Step 2: valences. NLTK: SentimentIntensityAnalyzer.sentiment_valence

    def _item_class(self, word: str) -> int:
        """Class of a word that is rated: its valence, its case, and its name if a rule names it."""
        lower = word.lower()
        if lower not in self._lexicon or lower in self._nltk.constants.BOOSTER_DICT:
            return NOTHING
        return self._class(word, ("item", self._lexicon[lower], word.isupper()))

    def _context_class(self, word: str) -> int:
        """Class of a word near a rated one: is it rated itself, does it boost, does it negate."""
        constants = self._nltk.constants
        boost = constants.BOOSTER_DICT.get(word.lower())
        return self._class(
            word,
            (
                word.lower() in self._lexicon,
                boost,
                boost is not None and word.isupper(),
                constants.negated([word]),
            ),
        )

    def _class(self, word: str, properties: tuple[object, ...]) -> int:
        """Return the class of the words with these properties; the first of them stands for it."""
        lower = word.lower()
        named = (
            word if word in self._named_exactly else None,
            lower if lower in NAMED_IN_ANY_CASE else None,
        )
        key = (*properties, *named)
        if key not in self._class_of:
            if len(self._representatives) >> CLASS_BITS:
                message = f"the lexicon has more than {1 << CLASS_BITS} kinds of words"
                raise OverflowError(message)
            self._class_of[key] = len(self._representatives)
            self._representatives.append(word)
        return self._class_of[key]

    def _valences(
        self,
        numbers: Integers,
        starts: Integers,
        words: _Words,
        places: Integers,
        text_of_place: Integers,
        is_mixed_case: Flags,
    ) -> Floats:
        """Return the valence of the rated word at each place.

        A word that stands several times in a text is rated where it stands first, as NLTK does.
        """
        same = text_of_place * (len(words.is_upper) + 1) + numbers[places]
        _, first, again = np.unique(same, return_index=True, return_inverse=True)
        at, text = places[first], text_of_place[first]
        item = words.item_class[numbers[at]]
        # A phrase that begins with the rated word is looked for only if a rule names that word.
        is_named = self._is_named()[item]
        window = item << 1 | is_mixed_case[text]
        for step in (*range(-1, -WORDS_BEFORE - 1, -1), *range(1, WORDS_AFTER + 1)):
            near = at + step
            is_inside = (near >= starts[text]) & (near < starts[text + 1])
            context = words.context_class[numbers[np.where(is_inside, near, at)]]
            seen = is_inside & is_named if step > 0 else is_inside
            window = window << CLASS_BITS | np.where(seen, context, NOTHING)
        distinct, which = np.unique(window, return_inverse=True)
        with self._lock:
            known = self._valence_of_window
            if len(known) + len(distinct) > MAX_WINDOWS:
                known.clear()
            for key in distinct.tolist():
                if key not in known:
                    known[key] = self._ask(key)
            rated = np.array([known[key] for key in distinct.tolist()])
        valences: Floats = rated[which][again] if len(places) else np.empty(0)
        return valences

    def _is_named(self) -> Flags:
        named = self._named_exactly | NAMED_IN_ANY_CASE
        return np.array([str(word).lower() in named for word in self._representatives])

    def _ask(self, window: int) -> float:
        """Return the valence that NLTK gives to the rated word of a window."""
        classes = []
        for _ in range(WORDS_BEFORE + WORDS_AFTER):
            classes.append(window & (1 << CLASS_BITS) - 1)
            window >>= CLASS_BITS
        is_mixed_case = bool(window & 1)
        item = self._representatives[window >> 1]
        assert item is not None
        near = [self._representatives[c] for c in reversed(classes)]
        before = [word for word in near[:WORDS_BEFORE] if word is not None][::-1]
        after = [word for word in near[WORDS_BEFORE:] if word is not None]
        if item.lower() == "kind" and after and after[0].lower() == "of":
            return 0.0  # polarity_scores: the phrase "kind of" is no item
        text = SimpleNamespace(
            words_and_emoticons=[*before, item, *after], is_cap_diff=is_mixed_case
        )
        (valence,) = self._nltk.sentiment_valence(0, text, item, len(before), [])
        return float(valence)

    def _mixes_case(self, is_upper: Flags, starts: Integers, counts: Integers) -> Flags:
        """True for texts in which some words are all upper case and some are not.

        NLTK: SentiText.allcap_differential.
        """
        upper_before = np.concatenate(([0], np.cumsum(is_upper)))
        upper = upper_before[starts[1:]] - upper_before[starts[:-1]]
        return (upper > 0) & (upper < counts)

    # --- Step 3: the rest. NLTK: _but_check and score_valence

    def _but_factors(
        self,
        numbers: Integers,
        words: _Words,
        places: Integers,
        text_of_place: Integers,
        starts: Integers,
    ) -> Floats:
        """Return 0.5 for places before the first `but` of their text, 1.5 behind it, else 1."""
        buts = np.flatnonzero(words.is_but[numbers])
        text_of_but = np.searchsorted(starts, buts, side="right") - 1
        first_but = np.full(len(starts) - 1, -1)
        first_but[text_of_but[::-1]] = buts[::-1]
        but = first_but[text_of_place]
        return np.where(but < 0, 1.0, np.where(places < but, 0.5, np.where(places > but, 1.5, 1.0)))

    def _totals(
        self,
        texts: pa.Array,
        counts: Integers,
        starts: Integers,
        places: Integers,
        text_of_place: Integers,
        valences: Floats,
    ) -> dict[str, Floats]:
        """Sum, emphasise, normalise and round, as `score_valence` does for one text."""
        text_count = len(counts)

        def sum_by_text(values: Floats, chosen: Flags) -> Floats:
            # bincount adds from left to right, as Python does
            sums = np.bincount(text_of_place[chosen], values[chosen], text_count)
            return sums.astype(np.float64)  # of nothing, bincount makes integers

        everywhere = np.ones(len(valences), bool)
        total = sum_by_text(valences, everywhere)
        positive = sum_by_text(valences + 1, valences > 0)
        negative = sum_by_text(valences - 1, valences < 0)
        neutral = counts - np.bincount(text_of_place, minlength=text_count)
        emphasis = self._emphasis(texts)
        is_close = (np.abs(total) < CLOSE) & (positive > 0)
        total += np.sign(total) * emphasis
        lead = positive - np.abs(negative)
        is_close |= (np.abs(lead) < CLOSE) & (positive > 0)
        positive += np.where(lead > 0, emphasis, 0.0)
        negative -= np.where(lead < 0, emphasis, 0.0)
        mass = positive + np.abs(negative) + neutral
        mass[mass == 0] = 1.0  # a text without words: all shares are 0
        exact = {
            "negative": np.abs(negative / mass),
            "neutral": np.abs(neutral / mass),
            "positive": np.abs(positive / mass),
            "compound": total / np.sqrt(total * total + 15),
        }
        rounded = {}
        for name, values in exact.items():
            scaled = values * 10 ** DIGITS[name]
            rounded[name] = np.rint(scaled) / 10 ** DIGITS[name]
            is_close |= np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) < CLOSE * 10 ** DIGITS[name]
        place_starts = np.searchsorted(text_of_place, np.arange(text_count + 1))
        for index in np.flatnonzero(is_close).tolist():
            chosen = slice(place_starts[index], place_starts[index + 1])
            sentiments = [0.0] * int(counts[index])
            for place, valence in zip(
                (places[chosen] - starts[index]).tolist(), valences[chosen].tolist(), strict=True
            ):
                sentiments[place] = valence
            scores = self._nltk.score_valence(sentiments, texts[index].as_py())
            for name, key in KEYS.items():
                rounded[name][index] = scores[key]
        return rounded

    def _emphasis(self, texts: pa.Array) -> Floats:
        """Return what exclamation and question marks add (section 3.2, heuristic 1).

        NLTK: _amplify_ep and _amplify_qm, asked once for each number of marks that matters.
        """
        added = np.zeros(len(texts))
        for mark, amplify in (("!", self._nltk._amplify_ep), ("?", self._nltk._amplify_qm)):
            marks = pc.count_substring(texts, mark).to_numpy(zero_copy_only=False)
            of_count = np.array([amplify(mark * count) for count in range(MARKS_COUNTED + 1)])
            added += of_count[np.minimum(marks, MARKS_COUNTED)]
        return added
