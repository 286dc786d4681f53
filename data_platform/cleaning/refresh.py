"""Makes cleaned_feedback of a day from raw_feedback: reads the current versions, cleans them, replaces the day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256

import pyarrow as pa

from data_platform.cleaning.posts import clean_posts
from data_platform.schemas import CLEANED_FEEDBACK, RAW_FEEDBACK
from data_platform.settings import FileFeed
from data_platform.storage.warehouse import DayWrite, Transaction, Warehouse, day_filter

INPUTS = (RAW_FEEDBACK.name,)
# Raised when the same raw rows give other cleaned rows, so that every day counts as stale.
CLEANING_VERSION = "1"
COLUMNS_READ = (
    "feedback_id",
    "feed",
    "content_hash",
    "author_id",
    "posted_at",
    "title",
    "body",
    "language_hint",
)


@dataclass(frozen=True)
class Cleaning:
    """How a day is cleaned.

    Args:
        feeds: the configured feeds, for the languages they declare.
        copy_min_characters: from this length on, equal texts by different authors are copies.
    """

    feeds: Sequence[FileFeed]
    copy_min_characters: int

    @property
    def default_languages(self) -> dict[str, str]:
        return {f.name: f.default_language for f in self.feeds if f.default_language}

    def made_from(self) -> dict[str, str]:
        """Parameters that cleaned rows depend on, for staleness."""
        options = f"{CLEANING_VERSION}|{self.copy_min_characters}|{sorted(self.default_languages.items())}"
        return {"cleaning": sha256(options.encode()).hexdigest()[:16]}

    def refresh_day(self, warehouse: Warehouse, day: date) -> list[DayWrite]:
        """Make cleaned_feedback of `day` equal to its cleaned current posts."""
        return warehouse.refresh_day(
            day,
            inputs=INPUTS,
            read=lambda transaction: self._current(transaction, day),
            compute=lambda raw: clean_posts(
                raw,
                default_languages=self.default_languages,
                min_campaign_chars=self.copy_min_characters,
            ),
            write=lambda transaction, cleaned, digests: [
                self._write(transaction, day, cleaned, digests)
            ],
        )

    def _current(self, transaction: Transaction, day: date) -> pa.Table:
        where, parameters = day_filter(RAW_FEEDBACK, day)
        return transaction.arrow(
            f"SELECT {', '.join(COLUMNS_READ)} FROM raw_feedback"
            f" WHERE {where} AND is_current AND NOT is_deleted ORDER BY feedback_id",
            parameters,
        )

    def _write(
        self, transaction: Transaction, day: date, cleaned: pa.Table, digests: Mapping[str, str]
    ) -> DayWrite:
        counts = transaction.replace_day(CLEANED_FEEDBACK, day, cleaned)
        where, parameters = day_filter(RAW_FEEDBACK, day, "r.")
        cleaned_where, _ = day_filter(CLEANED_FEEDBACK, day, "c.")
        every_post = transaction.require(
            "every_current_post_is_cleaned",
            "cleaned_feedback holds exactly the current posts of raw_feedback that are not deleted.",
            CLEANED_FEEDBACK,
            day,
            f"""
            SELECT coalesce(r.feedback_id, c.feedback_id) FROM
                (SELECT feedback_id, content_hash FROM raw_feedback r
                 WHERE {where} AND is_current AND NOT is_deleted) r
            FULL JOIN (SELECT feedback_id, content_hash FROM cleaned_feedback c
                 WHERE {cleaned_where}) c USING (feedback_id, content_hash)
            WHERE r.feedback_id IS NULL OR c.feedback_id IS NULL
            """,
            [*parameters, *parameters],
        )
        write = transaction.seal_day(CLEANED_FEEDBACK, day, counts, {**digests, **self.made_from()})
        row = transaction.connection.execute(
            "SELECT count(duplicate_of), count(*) FILTER (language = 'und'),"
            " count(*) FILTER (was_repaired) FROM cleaned_feedback c"
            f" WHERE {cleaned_where}",
            parameters,
        ).fetchone()
        duplicates, unknown, repaired = row or (0, 0, 0)
        return replace(write, rules=(*write.rules, every_post)).with_numbers(
            duplicates=duplicates, unknown_language=unknown, repaired=repaired
        )
