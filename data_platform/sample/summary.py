"""What was planted where: the numbers that a pipeline run on the sample must find again."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FeedSummary:
    """What one feed of the sample holds.

    `rows` = `posts` + `redelivered` + `edits` + `deletions` + all of `broken_rows`. `posts`,
    `posts_by_day` and `posts_by_language` count posts that keep the contract once each, also
    those deleted later.

    Attributes:
        files: Paths relative to the sample's folder, in order of delivery.
        rows: Lines or records in the files, broken ones included, headers not.
        broken_rows: Rows that break the contract, by reason.
        late: Posts that come in a later file than the one that covers their day.
        redelivered: Rows that repeat an earlier file's row unchanged.
        edits: Rows that bring another text of a post.
        deletions: Rows that say that a post was deleted.
        retweets: Posts that repeat another author's text after `RT @author:`.
        campaign_posts: Posts with the text of a campaign, each text by several authors.
        author_repeats: Posts in which an author repeats an own earlier text.
        mojibake: Posts whose UTF-8 was read as Windows-1252.
        labelled: Posts with a person's sentiment label.
        posts_by_day: Posts by day of posting (UTC).
    """

    name: str
    files: tuple[str, ...]
    rows: int
    posts: int
    broken_rows: Mapping[str, int]
    late: int
    redelivered: int
    edits: int
    deletions: int
    retweets: int
    campaign_posts: int
    author_repeats: int
    mojibake: int
    labelled: int
    posts_by_day: Mapping[dt.date, int]
    posts_by_language: Mapping[str, int]


@dataclass(frozen=True)
class SampleSummary:
    """What the whole sample holds; `incident_days` are days of `larkwing_social`."""

    first_day: dt.date
    last_day: dt.date
    seed: int
    incident_days: tuple[dt.date, ...]
    feeds: Mapping[str, FeedSummary]

    @property
    def files(self) -> tuple[str, ...]:
        """Return the paths of all files, relative to the sample's folder."""
        return tuple(path for feed in self.feeds.values() for path in feed.files)

    @property
    def rows(self) -> int:
        """Return the number of rows in all files."""
        return sum(feed.rows for feed in self.feeds.values())

    @property
    def posts(self) -> int:
        """Return the number of posts that keep the contract."""
        return sum(feed.posts for feed in self.feeds.values())

    @property
    def broken_rows(self) -> Counter[str]:
        """Return the number of broken rows by reason."""
        total: Counter[str] = Counter()
        for feed in self.feeds.values():
            total.update(feed.broken_rows)
        return total

    @property
    def posts_by_language(self) -> Counter[str]:
        """Return the number of posts by the language they were written in."""
        total: Counter[str] = Counter()
        for feed in self.feeds.values():
            total.update(feed.posts_by_language)
        return total
