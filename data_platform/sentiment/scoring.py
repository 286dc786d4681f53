"""Scores the texts of days that have no score by the model yet; the others keep theirs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import pyarrow as pa

from data_platform.schemas import CLEANED_FEEDBACK, SENTIMENT_SCORES
from data_platform.sentiment.comparison import (
    active_fingerprint,
    is_scored_by,
    set_active_model,
)
from data_platform.sentiment.models import SentimentModel
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import (
    DayWrite,
    MergeCounts,
    Transaction,
    Warehouse,
    days_filter,
)


@dataclass(frozen=True)
class Scoring:
    """How days are scored.

    Args:
        model: the model whose scores become the current ones.
        languages: ISO 639 codes of the texts that the model is given; others stay unscored.
        first_day: first open day: from there on every text is scored before a new model's scores
            become the current ones.
        waits: True: they become so only when a person says so (`activate_model`).
    """

    model: SentimentModel
    languages: Sequence[str]
    first_day: date = date.min
    waits: bool = False

    def made_from(self) -> dict[str, str]:
        """Parameters that the scores of a day depend on, for staleness."""
        return {"model": self.model.identity.fingerprint, "languages": ",".join(self.languages)}

    def refresh_days(self, warehouse: Warehouse, days: DaySpan) -> list[DayWrite]:
        """Score what has no score, and drop the scores of posts that left the days."""
        return warehouse.refresh_days(
            days,
            inputs=[CLEANED_FEEDBACK.name],
            read=lambda transaction: self._unscored(transaction, days),
            compute=self._score,
            write=lambda transaction, scores, digests: self._write(
                transaction, days, scores, digests
            ),
        )

    def _unscored(self, transaction: Transaction, days: DaySpan) -> pa.Table:
        where, parameters = days_filter(CLEANED_FEEDBACK, days, "c.")
        score_where, _ = days_filter(SENTIMENT_SCORES, days, "s.")
        return transaction.arrow(
            f"""
            SELECT c.feedback_id, c.posted_at, c.scored_text_hash, c.body_clean
            FROM cleaned_feedback c
            WHERE {where} AND list_contains(?, c.language) AND NOT EXISTS (
                SELECT 1 FROM sentiment_scores s WHERE {score_where}
                AND s.feedback_id = c.feedback_id AND s.scored_text_hash = c.scored_text_hash
                AND s.model_fingerprint = ?)
            """,
            [
                *parameters,
                list(self.languages),
                *parameters,
                self.model.identity.fingerprint,
            ],
        )

    def _score(self, texts: pa.Table) -> pa.Table:
        scores = self.model.score(texts["body_clean"])
        identity = self.model.identity
        known = {
            "model_name": identity.name,
            "model_version": identity.version,
            "model_fingerprint": identity.fingerprint,
        }
        columns = {name: texts[name] for name in ("feedback_id", "posted_at", "scored_text_hash")}
        columns |= {name: pa.repeat(pa.scalar(v), len(texts)) for name, v in known.items()}
        columns |= {name: scores[name] for name in scores.column_names}
        columns["scored_at"] = pa.repeat(
            pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC")), len(texts)
        )
        return pa.table(columns).select(SENTIMENT_SCORES.column_names)

    def _write(
        self,
        transaction: Transaction,
        days: DaySpan,
        scores: pa.Table,
        digests: Mapping[date, Mapping[str, str]],
    ) -> list[DayWrite]:
        connection = transaction.connection
        where, parameters = days_filter(SENTIMENT_SCORES, days, "t.")
        cleaned_where, _ = days_filter(CLEANED_FEEDBACK, days, "c.")
        day = SENTIMENT_SCORES.day_expression()
        connection.execute(
            "CREATE TEMP TABLE day_cleaned AS SELECT feedback_id, posted_at, scored_text_hash,"
            f" language FROM cleaned_feedback c WHERE {cleaned_where}",
            parameters,
        )
        connection.register("new_scores", scores)
        deleted = connection.execute(
            f"DELETE FROM sentiment_scores t WHERE {where}"
            f" AND t.feedback_id NOT IN (SELECT feedback_id FROM day_cleaned) RETURNING {day}",
            parameters,
        ).fetchall()
        moved = connection.execute(
            "UPDATE sentiment_scores t SET posted_at = c.posted_at FROM day_cleaned c"
            f" WHERE {where} AND t.feedback_id = c.feedback_id AND t.posted_at <> c.posted_at"
            f" RETURNING {SENTIMENT_SCORES.day_expression('t.')}",
            parameters,
        ).fetchall()
        key = " AND ".join(f"t.{name} = n.{name}" for name in SENTIMENT_SCORES.key)
        by_day = f"SELECT {day} AS day, count(*) FROM sentiment_scores t WHERE {where} GROUP BY day"
        kept = dict(connection.execute(by_day, parameters).fetchall())
        connection.execute(
            f"INSERT INTO sentiment_scores SELECT * FROM new_scores n WHERE NOT EXISTS"
            f" (SELECT 1 FROM sentiment_scores t WHERE {where} AND {key})",
            parameters,
        )
        there = dict(connection.execute(by_day, parameters).fetchall())
        self._activate(transaction)
        transaction.require(
            "every_scorable_text_has_one_score",
            SENTIMENT_SCORES,
            days,
            f"""
            SELECT d.feedback_id FROM day_cleaned d LEFT JOIN (
                SELECT feedback_id, scored_text_hash, posted_at FROM sentiment_scores t
                WHERE {where} AND model_fingerprint = ?
            ) s USING (feedback_id, scored_text_hash, posted_at)
            WHERE list_contains(?, d.language)
            GROUP BY d.feedback_id HAVING count(s.feedback_id) <> 1
            """,
            [*parameters, self.model.identity.fingerprint, list(self.languages)],
        )
        unscored = dict(
            connection.execute(
                f"SELECT {day} AS day, count(*) FROM day_cleaned"
                " WHERE NOT list_contains(?, language) GROUP BY day",
                [list(self.languages)],
            ).fetchall()
        )
        fates = [Counter(found for (found,) in rows) for rows in (moved, deleted)]
        counts = {}
        for of_day in days:
            updated, gone = (fate[of_day] for fate in fates)
            new = there.get(of_day, 0) - kept.get(of_day, 0)
            counts[of_day] = MergeCounts(new, updated, kept.get(of_day, 0) - updated, gone)
        made_from = {of_day: {**digests[of_day], **self.made_from()} for of_day in days}
        return [
            write.with_numbers(unscored=unscored.get(write.day, 0))
            for write in transaction.seal_days(SENTIMENT_SCORES, days, counts, made_from)
        ]

    def _activate(self, transaction: Transaction) -> None:
        """Make the model's scores the current ones, as soon as there are no gaps among them."""
        identity = self.model.identity
        active = active_fingerprint(transaction)
        if active == identity.fingerprint:
            return
        first = datetime.combine(self.first_day, time(), UTC)
        if active is None or (
            not self.waits
            and is_scored_by(transaction, identity.fingerprint, list(self.languages), first)
        ):
            set_active_model(transaction, identity)
