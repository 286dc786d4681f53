"""Views of the published snapshot: what its readers would otherwise join themselves."""

from collections.abc import Mapping

from data_platform.schemas.cleaning import CLEANED_FEEDBACK
from data_platform.schemas.sentiment import CURRENT_SENTIMENT_VIEW, SENTIMENT_SCORES
from data_platform.schemas.table import Column, Table, carried
from data_platform.schemas.warehouse import DIM_FEED, FCT_FEEDBACK

_CLEANED, _FACT, _SCORE = (
    table.by_name for table in (CLEANED_FEEDBACK, FCT_FEEDBACK, SENTIMENT_SCORES)
)
_SHARES = tuple(_SCORE[name] for name in ("negative", "neutral", "positive", "compound", "label"))
_MODEL = tuple(_SCORE[name] for name in ("model_name", "model_version", "model_fingerprint"))

CURRENT_SENTIMENT = Table(
    name="current_sentiment",
    description="One row per post whose current text the active model has scored. A view.",
    columns=(
        *carried("cleaned_feedback", _CLEANED["feedback_id"], _CLEANED["posted_at"]),
        *carried("cleaned_feedback", _CLEANED["feed"], _CLEANED["language"]),
        *carried("sentiment_scores", _SCORE["scored_text_hash"], *_MODEL, *_SHARES),
        *carried("sentiment_scores", _SCORE["scored_at"]),
    ),
    key=("feedback_id",),
    day_column="posted_at",
)

FEEDBACK = Table(
    name="feedback",
    description=(
        "One row per post that is not deleted, with its text, what it is about, how it was scored"
        " and how many people reacted. A view for analysts."
    ),
    columns=(
        Column("date", "DATE", "Day of posting (UTC).", True, ("cleaned_feedback.posted_at",)),
        *carried("cleaned_feedback", _CLEANED["posted_at"], _CLEANED["feedback_id"]),
        *carried("cleaned_feedback", _CLEANED["feed"]),
        *carried("dim_feed", DIM_FEED.by_name["source"]),
        *carried("cleaned_feedback", _CLEANED["language"]),
        *carried("fct_feedback", _FACT["topic"]),
        *carried("cleaned_feedback", _CLEANED["body_clean"], _CLEANED["word_count"]),
        *carried("sentiment_scores", *_SHARES, _SCORE["model_name"], required=False),
        *carried("fct_feedback", _FACT["rating"], _FACT["like_count"], _FACT["share_count"]),
        *carried("fct_feedback", _FACT["reply_count"], _FACT["is_duplicate"]),
    ),
    key=("feedback_id",),
    day_column="posted_at",
)
FEEDBACK_VIEW = """
CREATE OR REPLACE VIEW feedback AS
SELECT CAST(timezone('UTC', c.posted_at) AS DATE) AS date, c.posted_at, c.feedback_id, c.feed,
       d.source, c.language, f.topic, c.body_clean, c.word_count, s.negative, s.neutral, s.positive,
       s.compound, s.label, s.model_name, f.rating, f.like_count, f.share_count, f.reply_count,
       f.is_duplicate
FROM cleaned_feedback c
LEFT JOIN fct_feedback f ON f.feedback_id = c.feedback_id AND f.posted_at = c.posted_at
LEFT JOIN dim_feed d ON d.feed_id = c.feed
LEFT JOIN current_sentiment s ON s.feedback_id = c.feedback_id AND s.posted_at = c.posted_at
"""

PUBLISHED_VIEWS: Mapping[str, tuple[Table, str]] = {
    CURRENT_SENTIMENT.name: (CURRENT_SENTIMENT, CURRENT_SENTIMENT_VIEW),
    FEEDBACK.name: (FEEDBACK, FEEDBACK_VIEW),
}
