"""Tables of the stage cleaning."""

from data_platform.schemas.posts import CONTENT_HASH, FEED, FEEDBACK_ID, POSTED_AT
from data_platform.schemas.table import Column, RowRule, Table, carried

LANGUAGE = Column(
    "language",
    "VARCHAR",
    "ISO 639 code: stated by the source, else identified; 'und' if undetermined.",
    required=True,
    derived_from=("raw_feedback.language_hint", "raw_feedback.body"),
)
SCORED_TEXT_HASH = Column(
    "scored_text_hash",
    "VARCHAR",
    "SHA-256 of exactly the language and text that a model is given.",
    required=True,
    derived_from=("raw_feedback.body", "raw_feedback.title"),
)

CLEANED_FEEDBACK = Table(
    name="cleaned_feedback",
    description="One row per post that is not deleted, its current version, text ready to be scored.",
    columns=(
        *carried("raw_feedback", FEEDBACK_ID, CONTENT_HASH, FEED, POSTED_AT),
        Column(
            "body_clean",
            "VARCHAR",
            "Title and body without markup, links and mentions, <email> and the like for personal data;"
            " emoji, case and punctuation stay.",
            required=True,
            derived_from=("raw_feedback.body", "raw_feedback.title"),
        ),
        LANGUAGE,
        Column(
            "language_confidence",
            "DOUBLE",
            "Confidence of the identification, 0 to 1; null if the source or the feed stated it.",
            derived_from=("raw_feedback.body",),
        ),
        Column(
            "duplicate_of",
            "VARCHAR",
            "feedback_id of the earliest copy on the same day; null: no copy.",
            derived_from=("raw_feedback.body", "raw_feedback.author_id"),
        ),
        Column(
            "word_count",
            "INTEGER",
            "Words of body_clean.",
            required=True,
            derived_from=("raw_feedback.body",),
        ),
        Column(
            "was_repaired",
            "BOOLEAN",
            "True if a broken encoding was repaired.",
            required=True,
            derived_from=("raw_feedback.body",),
        ),
        SCORED_TEXT_HASH,
    ),
    key=("feedback_id",),
    day_column="posted_at",
    row_rules=(
        RowRule(
            "language_confidence_is_between_0_and_1",
            "language_confidence IS NULL OR language_confidence BETWEEN 0 AND 1",
            "A confidence is a probability.",
        ),
    ),
    is_published=True,
)
