"""What makes the sample as unruly as the web: copies, late arrivals, edits, deletions, faults."""

import datetime as dt
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from data_platform.sample.feeds import FeedPlan
from data_platform.sample.phrases import LANGUAGES, SentencePool, read_phrases
from data_platform.sample.randomness import shuffled
from data_platform.sample.rows import (
    COLUMNS,
    TEAM_HANDLE,
    Line,
    Post,
    as_in_file,
    broken_line,
    deleted_row,
    edited_row,
)

COPIED_LENGTH = 40  # characters: a text this long is copied, not written twice by chance


@dataclass
class Planting:
    """The posts of one feed on their way into files.

    Attributes:
        files: Lines of each file, in order of delivery.
        posts: The posts that keep the contract.
        counts: How often each thing was planted.
        broken: How many broken rows by reason.
    """

    plan: FeedPlan
    first_day: dt.date
    pool: SentencePool
    rng: np.random.Generator
    posts: list[Post]
    files: list[list[Line]] = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    _order: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.files = [[] for _ in self.plan.periods]
        self._order = shuffled(len(self.posts), self.rng)

    def plant(self) -> None:
        """Plant everything that the plan names; no post is chosen for two things."""
        self._plant_texts()
        broken = self._break_posts()
        late = self._reserve(self.plan.late, self._leaves_files(self.plan.late_files[0]))
        again = self._reserve(self.plan.redelivered, self._leaves_files(1))
        edited = self._reserve(self.plan.edits, self._leaves_files(1))
        deleted = self._reserve(self.plan.deletions, self._leaves_files(1))
        for number, post in enumerate(self.posts):
            if number in broken:
                self.files[self.plan.file_of(post.day)].append(broken[number])
            elif number not in late:
                self.files[self.plan.file_of(post.day)].append(post.row)
        for number in late:
            self._deliver_later(number, self.posts[number].row, *self.plan.late_files)
        for number in again:
            self._deliver_later(number, self.posts[number].row)
        for number in edited:
            self._deliver_edit(number)
        for number in deleted:
            post = self.posts[number]
            self._deliver_later(number, deleted_row(self.plan.name, post.row))
        self.counts.update(
            late=len(late), redelivered=len(again), edits=len(edited), deletions=len(deleted)
        )
        self.posts = [post for number, post in enumerate(self.posts) if number not in broken]

    def _plant_texts(self) -> None:
        """Plant retweets, a campaign's copies, repeats by one author, and mojibake."""
        plan = self.plan
        pairs = self._reserve(2 * plan.retweets, _is_worth_copying)
        for early, late in _ordered_pairs(pairs):
            original = self.posts[early]
            self._rewrite(late, f"RT @{original.author}: {original.body}", original.language)
        campaigns = [
            (language, as_in_file(plan.name, text))
            for language in LANGUAGES
            for text in read_phrases()[language]["campaign"].splitlines()
        ]
        for turn, number in enumerate(self._reserve(plan.campaign_posts)):
            language, text = campaigns[turn % len(campaigns)]
            self._rewrite(number, text, language)
        pairs = self._reserve(2 * plan.author_repeats, _is_worth_copying)
        for early, late in _ordered_pairs(pairs):
            original = self.posts[early]
            self._rewrite(late, original.body, original.language, original.author)
        for number in self._reserve(plan.mojibake, lambda post: _misread(post.body) != post.body):
            post = self.posts[number]
            self._rewrite(number, _misread(post.body), post.language)
        self.counts.update(
            retweets=plan.retweets,
            campaign_posts=plan.campaign_posts,
            author_repeats=plan.author_repeats,
            mojibake=plan.mojibake,
        )

    def _rewrite(self, number: int, body: str, language: str, author: str | None = None) -> None:
        """Give a post another text, its language, and perhaps another author."""
        post = self.posts[number]
        _, _, body_column, author_column = COLUMNS[self.plan.name]
        post.body, post.language, post.author = body, language, author or post.author
        post.row[body_column], post.row[author_column] = post.body, post.author
        if post.row.get("lang"):
            post.row["lang"] = language
        if "language" in post.row:  # never missing here: the feed's default would be wrong
            post.row["language"] = language
        if "permalink" in post.row:
            post.row["permalink"] = (
                f"https://chirper.example/{post.author}/status/{post.row['post_id']}"
            )

    def _break_posts(self) -> dict[int, Line]:
        """Return the lines of the posts that are broken, by their number."""
        broken: dict[int, Line] = {}
        for reason, count in self.plan.broken.items():
            for turn, number in enumerate(self._reserve(count)):
                row = self.posts[number].row
                broken[number] = broken_line(self.plan.name, row, reason, turn)
                self.broken[reason] += 1
        return broken

    def _deliver_edit(self, number: int) -> None:
        """Deliver another text of a post, written in the last hours before its file."""
        post = self.posts[number]
        file = self._later_file(number)
        addition = self.pool.pick(post.language, "edit", float(self.rng.random()))
        edited_at = self.delivered_at(file) - dt.timedelta(minutes=5 + int(self.rng.random() * 600))
        body = f"{post.body}\n{as_in_file(self.plan.name, addition)}"
        self.files[file].append(edited_row(self.plan.name, post.row, body, edited_at))

    def _deliver_later(self, number: int, line: Line, fewest: int = 1, most: int = 99) -> None:
        self.files[self._later_file(number, fewest, most)].append(line)

    def _later_file(self, number: int, fewest: int = 1, most: int = 99) -> int:
        """Return a file that comes `fewest` to `most` files after the post's own."""
        own = self.plan.file_of(self.posts[number].day)
        last = min(own + most, len(self.files) - 1)
        return own + fewest + int(self.rng.random() * (last - own - fewest + 1))

    def delivered_at(self, file: int) -> dt.datetime:
        """Return when a file comes: at midnight (UTC) after the last day it covers."""
        day = self.first_day + dt.timedelta(days=self.plan.periods[file][1] + 1)
        return dt.datetime.combine(day, dt.time(), dt.UTC)

    def _leaves_files(self, files: int) -> Callable[[Post], bool]:
        return lambda post: self.plan.file_of(post.day) + files < len(self.plan.periods)

    def _reserve(
        self, count: int, fits: Callable[[Post], bool] = lambda _: True
    ) -> dict[int, None]:
        """Return the numbers of `count` posts that nothing else has taken, in random order."""
        found = [n for n in self._order if fits(self.posts[n])][:count]
        if len(found) < count:
            message = f"{self.plan.name}: {count} posts wanted, only {len(found)} fit"
            raise ValueError(message)
        taken = set(found)
        self._order = [n for n in self._order if n not in taken]
        return dict.fromkeys(found)


def _ordered_pairs(numbers: dict[int, None]) -> list[tuple[int, int]]:
    """Return the numbers two by two, the earlier post first."""
    flat = list(numbers)
    return [(min(pair), max(pair)) for pair in zip(flat[::2], flat[1::2], strict=True)]


def _is_worth_copying(post: Post) -> bool:
    """Return whether a customer wrote it, at some length."""
    return len(post.body) >= COPIED_LENGTH and not post.author.startswith(TEAM_HANDLE)


def _misread(body: str) -> str:
    """Return UTF-8 read as Windows-1252, or `body` itself where that cannot be read."""
    try:
        return body.encode().decode("cp1252")
    except UnicodeDecodeError:
        return body
