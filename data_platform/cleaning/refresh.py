"""Makes cleaned_feedback of days from raw_feedback: reads the current versions, cleans them, replaces the days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

import pyarrow as pa

from data_platform.cleaning.posts import clean_posts
from data_platform.cleaning.privacy import Redaction
from data_platform.feed_settings import AnyFeed
from data_platform.schemas import CLEANED_FEEDBACK, RAW_FEEDBACK
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import DayWrite, Transaction, Warehouse, days_filter

INPUTS = (RAW_FEEDBACK.name,)
# Raised when the same raw rows give other cleaned rows, so that every day counts as stale.
CLEANING_VERSION = "3"
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
    """How days are cleaned.

    Args:
        feeds: the configured feeds, for the languages they declare.
        copy_min_characters: from this length on, equal texts by different authors are copies.
        redaction: which personal data does not leave raw_feedback.
        threads: how many parts of a column are cleaned at the same time.
    """

    feeds: Sequence[AnyFeed]
    copy_min_characters: int
    redaction: Redaction
    threads: int = 1

    @property
    def default_languages(self) -> dict[str, str]:
        return {f.name: f.default_language for f in self.feeds if f.default_language}

    def made_from(self) -> dict[str, str]:
        """Parameters that cleaned rows depend on, for staleness."""
        options = (
            f"{CLEANING_VERSION}|{self.copy_min_characters}|{sorted(self.default_languages.items())}"
            f"|{sorted(self.redaction.kinds)}|{self.redaction.phone_regions}"
            f"|{self.redaction.national_ids}"
        )
        return {"cleaning": sha256(options.encode()).hexdigest()[:16]}

    def refresh_days(self, warehouse: Warehouse, days: DaySpan) -> list[DayWrite]:
        """Make cleaned_feedback of `days` equal to their cleaned current posts."""
        return warehouse.refresh_days(
            days,
            inputs=INPUTS,
            read=lambda transaction: self._current(transaction, days),
            compute=lambda raw: clean_posts(
                raw,
                default_languages=self.default_languages,
                min_campaign_chars=self.copy_min_characters,
                redaction=self.redaction,
                threads=self.threads,
            ),
            write=lambda transaction, cleaned, digests: self._write(
                transaction, days, cleaned, digests
            ),
        )

    def _current(self, transaction: Transaction, days: DaySpan) -> pa.Table:
        where, parameters = days_filter(RAW_FEEDBACK, days)
        return transaction.arrow(
            f"SELECT {', '.join(COLUMNS_READ)} FROM raw_feedback"
            f" WHERE {where} AND is_current AND NOT is_deleted",
            parameters,
        )

    def _write(
        self,
        transaction: Transaction,
        days: DaySpan,
        cleaned: pa.Table,
        digests: Mapping[date, Mapping[str, str]],
    ) -> list[DayWrite]:
        counts = transaction.merge_days(CLEANED_FEEDBACK, days, cleaned)
        where, parameters = days_filter(RAW_FEEDBACK, days, "r.")
        cleaned_where, _ = days_filter(CLEANED_FEEDBACK, days, "c.")
        transaction.require(
            "every_current_post_is_cleaned",
            CLEANED_FEEDBACK,
            days,
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
        made_from = {day: {**digests[day], **self.made_from()} for day in days}
        rows = transaction.connection.execute(
            f"SELECT {CLEANED_FEEDBACK.day_expression('c.')} AS day, count(duplicate_of),"
            " count(*) FILTER (language = 'und'), count(*) FILTER (was_repaired)"
            f" FROM cleaned_feedback c WHERE {cleaned_where} GROUP BY day",
            parameters,
        ).fetchall()
        numbers = {day: counted for day, *counted in rows}
        writes = []
        for write in transaction.seal_days(CLEANED_FEEDBACK, days, counts, made_from):
            duplicates, unknown, repaired = numbers.get(write.day, (0, 0, 0))
            writes.append(
                write.with_numbers(
                    duplicates=duplicates, unknown_language=unknown, repaired=repaired
                )
            )
        return writes
