"""Scores the texts of a day that have no score by the model yet; the others keep theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import pyarrow as pa

from data_platform.schemas import ACTIVE_MODEL, CLEANED_FEEDBACK, SENTIMENT_SCORES
from data_platform.sentiment.models import SentimentModel
from data_platform.storage.warehouse import (
    DayWrite,
    MergeCounts,
    Transaction,
    Warehouse,
    day_filter,
)


@dataclass(frozen=True)
class Scoring:
    """How a day is scored.

    Args:
        model: the model whose scores become the current ones.
        languages: ISO 639 codes of the texts that the model is given; others stay unscored.
    """

    model: SentimentModel
    languages: Sequence[str]

    def made_from(self) -> dict[str, str]:
        """Parameters that the scores of a day depend on, for staleness."""
        return {"model": self.model.identity.fingerprint, "languages": ",".join(self.languages)}

    def refresh_day(self, warehouse: Warehouse, day: date) -> list[DayWrite]:
        """Score what has no score, and drop the scores of posts that left the day."""
        return warehouse.refresh_day(
            day,
            inputs=[CLEANED_FEEDBACK.name],
            read=lambda transaction: self._unscored(transaction, day),
            compute=self._score,
            write=lambda transaction, scores, digests: [
                self._write(transaction, day, scores, digests)
            ],
        )

    def _unscored(self, transaction: Transaction, day: date) -> pa.Table:
        where, parameters = day_filter(CLEANED_FEEDBACK, day, "c.")
        score_where, _ = day_filter(SENTIMENT_SCORES, day, "s.")
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
        self, transaction: Transaction, day: date, scores: pa.Table, digests: Mapping[str, str]
    ) -> DayWrite:
        connection = transaction.connection
        where, parameters = day_filter(SENTIMENT_SCORES, day, "t.")
        cleaned_where, _ = day_filter(CLEANED_FEEDBACK, day, "c.")
        connection.execute(
            "CREATE TEMP TABLE day_cleaned AS SELECT feedback_id, posted_at, scored_text_hash,"
            f" language FROM cleaned_feedback c WHERE {cleaned_where}",
            parameters,
        )
        connection.register("new_scores", scores)
        deleted = connection.execute(
            f"DELETE FROM sentiment_scores t WHERE {where}"
            " AND t.feedback_id NOT IN (SELECT feedback_id FROM day_cleaned) RETURNING 1",
            parameters,
        ).fetchall()
        moved = connection.execute(
            "UPDATE sentiment_scores t SET posted_at = c.posted_at FROM day_cleaned c"
            f" WHERE {where} AND t.feedback_id = c.feedback_id AND t.posted_at <> c.posted_at"
            " RETURNING 1",
            parameters,
        ).fetchall()
        key = " AND ".join(f"t.{name} = n.{name}" for name in SENTIMENT_SCORES.key)
        inserted = connection.execute(
            f"INSERT INTO sentiment_scores SELECT * FROM new_scores n WHERE NOT EXISTS"
            f" (SELECT 1 FROM sentiment_scores t WHERE {where} AND {key}) RETURNING 1",
            parameters,
        ).fetchall()
        identity = self.model.identity
        active = pa.table(
            {
                "model_fingerprint": [identity.fingerprint],
                "model_name": [identity.name],
                "model_version": [identity.version],
            }
        )
        transaction.merge(ACTIVE_MODEL, active, delete_where="TRUE")
        one_score = transaction.require(
            "every_scorable_text_has_one_score",
            "Every current text in a language that the model can score has one current score.",
            SENTIMENT_SCORES,
            day,
            f"""
            SELECT d.feedback_id FROM day_cleaned d LEFT JOIN (
                SELECT feedback_id, scored_text_hash, posted_at FROM sentiment_scores t
                WHERE {where} AND model_fingerprint = ?
            ) s USING (feedback_id, scored_text_hash, posted_at)
            WHERE list_contains(?, d.language)
            GROUP BY d.feedback_id HAVING count(s.feedback_id) <> 1
            """,
            [*parameters, identity.fingerprint, list(self.languages)],
        )
        row_count = transaction.count(
            f"SELECT count(*) FROM sentiment_scores t WHERE {where}", parameters
        )
        counts = MergeCounts(
            inserted=len(inserted),
            updated=len(moved),
            unchanged=row_count - len(inserted) - len(moved),
            deleted=len(deleted),
        )
        write = transaction.seal_day(SENTIMENT_SCORES, day, counts, {**digests, **self.made_from()})
        unscored = transaction.count(
            "SELECT count(*) FROM day_cleaned WHERE NOT list_contains(?, language)",
            [list(self.languages)],
        )
        return replace(write, rules=(*write.rules, one_score)).with_numbers(unscored=unscored)
