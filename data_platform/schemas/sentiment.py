"""Tables of the stage sentiment: scores, the active model, and how scores agree with people."""

from data_platform.schemas.cleaning import SCORED_TEXT_HASH
from data_platform.schemas.posts import FEED, FEEDBACK_ID, POSTED_AT
from data_platform.schemas.table import Column, RowRule, Table, carried

_TEXT = ("cleaned_feedback.body_clean", "cleaned_feedback.language")
SENTIMENT_SCORES = Table(
    name="sentiment_scores",
    description=(
        "One row per post, scored text and model; append-only, so that every score can be audited."
        " The view current_sentiment holds the score of each current text by the active model."
    ),
    columns=(
        *carried("cleaned_feedback", FEEDBACK_ID, POSTED_AT, SCORED_TEXT_HASH),
        Column("model_name", "VARCHAR", "Name of the model.", required=True),
        Column("model_version", "VARCHAR", "Version of its engine.", required=True),
        Column(
            "model_fingerprint",
            "VARCHAR",
            "SHA-256 over engine version, lexicon and options.",
            required=True,
        ),
        Column("negative", "DOUBLE", "Share of negative weight, 0 to 1.", True, _TEXT),
        Column("neutral", "DOUBLE", "Share of neutral weight, 0 to 1.", True, _TEXT),
        Column("positive", "DOUBLE", "Share of positive weight, 0 to 1.", True, _TEXT),
        Column("compound", "DOUBLE", "Overall sentiment, -1 to 1.", True, _TEXT),
        Column("label", "VARCHAR", "negative, neutral or positive.", True, _TEXT),
        Column("scored_at", "TIMESTAMPTZ", "When it was scored.", required=True, is_volatile=True),
    ),
    key=("feedback_id", "scored_text_hash", "model_fingerprint"),
    day_column="posted_at",
    row_rules=(
        RowRule(
            "compound_is_between_minus_1_and_1",
            "compound BETWEEN -1 AND 1",
            "The compound score is normalised to -1..1.",
        ),
        RowRule(
            "shares_are_between_0_and_1",
            "negative BETWEEN 0 AND 1 AND neutral BETWEEN 0 AND 1 AND positive BETWEEN 0 AND 1",
            "Negative, neutral and positive are shares of a text.",
        ),
        RowRule(
            "label_is_known",
            "label IN ('negative', 'neutral', 'positive')",
            "A score's label is one of three.",
        ),
    ),
    is_published=True,
)

SCORED = ("sentiment_scores.label",)
TRUTH = ("raw_feedback.label", "raw_feedback.rating")
SENTIMENT_EVALUATION = Table(
    name="sentiment_evaluation",
    description=(
        "One row per feed, language, truth and class: how the active model's labels compare with"
        " people's labels and ratings; copies and deleted posts are left out."
    ),
    columns=(
        *carried(
            "sentiment_scores",
            *(SENTIMENT_SCORES.by_name[name] for name in ("model_fingerprint", "model_name")),
        ),
        *carried("cleaned_feedback", FEED),
        Column(
            "language",
            "VARCHAR",
            "ISO 639 code; 'all': all languages of the feed together.",
            True,
            ("cleaned_feedback.language",),
        ),
        Column(
            "truth",
            "VARCHAR",
            "What the scores are compared with: 'label' (a person's verdict) or 'rating' (the"
            " author's own: up to 0.4 negative, from 0.6 on positive, in between neutral).",
            True,
            TRUTH,
        ),
        Column(
            "label",
            "VARCHAR",
            "Class: negative, neutral or positive; 'macro': the mean over the classes where a share"
            " is defined, each class counting the same.",
            True,
            TRUTH,
        ),
        Column(
            "sample_count",
            "BIGINT",
            "Posts compared, of this feed, language and truth.",
            True,
            ("cleaned_feedback.feedback_id", "cleaned_feedback.duplicate_of"),
        ),
        Column(
            "support_count",
            "BIGINT",
            "Posts whose truth is this class; macro: all that were compared.",
            True,
            TRUTH,
        ),
        Column(
            "predicted_count",
            "BIGINT",
            "Posts that the model gave this class; macro: all that were compared.",
            True,
            SCORED,
        ),
        Column(
            "precision_share",
            "DOUBLE",
            "Right ones among the posts predicted to be of this class, 0 to 1; null: none was.",
            derived_from=(*TRUTH, *SCORED),
        ),
        Column(
            "recall_share",
            "DOUBLE",
            "Posts of this class that were predicted to be, 0 to 1; null: there is no such post.",
            derived_from=(*TRUTH, *SCORED),
        ),
        Column(
            "f1_share",
            "DOUBLE",
            "2 TP / (2 TP + FP + FN), 0 to 1; null: the class is in neither truth nor predictions.",
            derived_from=(*TRUTH, *SCORED),
        ),
        Column(
            "f1_low_share",
            "DOUBLE",
            "Lower end of the 95 % bootstrap percentile interval of f1_share; null with it.",
            derived_from=(*TRUTH, *SCORED),
        ),
        Column(
            "f1_high_share",
            "DOUBLE",
            "Upper end of the 95 % bootstrap percentile interval of f1_share; null with it.",
            derived_from=(*TRUTH, *SCORED),
        ),
        Column(
            "predicted_negative_count",
            "BIGINT",
            "Posts of this class that the model called negative; macro: of all classes.",
            True,
            (*TRUTH, *SCORED),
        ),
        Column(
            "predicted_neutral_count",
            "BIGINT",
            "Posts of this class that the model called neutral; macro: of all classes.",
            True,
            (*TRUTH, *SCORED),
        ),
        Column(
            "predicted_positive_count",
            "BIGINT",
            "Posts of this class that the model called positive; macro: of all classes.",
            True,
            (*TRUTH, *SCORED),
        ),
    ),
    key=("model_fingerprint", "feed", "language", "truth", "label"),
    row_rules=(
        RowRule(
            "truth_and_label_are_known",
            "truth IN ('label', 'rating')"
            " AND label IN ('negative', 'neutral', 'positive', 'macro')",
            "Scores are compared with labels or ratings, class by class and in the mean.",
        ),
        RowRule(
            "counts_add_up",
            "predicted_negative_count + predicted_neutral_count + predicted_positive_count"
            " = support_count AND support_count <= sample_count AND predicted_count <= sample_count"
            " AND (label <> 'macro' OR (support_count = sample_count"
            " AND predicted_count = sample_count))",
            "The posts of a class are divided among the predictions, and macro counts every post.",
        ),
        RowRule(
            "shares_are_between_0_and_1",
            " AND ".join(
                f"coalesce({name}, 0) BETWEEN 0 AND 1"
                for name in (
                    "precision_share",
                    "recall_share",
                    "f1_share",
                    "f1_low_share",
                    "f1_high_share",
                )
            ),
            "Precision, recall and F1 are shares.",
        ),
        RowRule(
            "shares_without_posts_are_null",
            "(precision_share IS NULL) = (predicted_count = 0)"
            " AND (recall_share IS NULL) = (support_count = 0)"
            " AND (f1_share IS NULL) = (support_count + predicted_count = 0)",
            "A share is null where nothing could be counted, and only there.",
        ),
        RowRule(
            "intervals_are_ordered",
            "CASE WHEN f1_low_share IS NULL THEN f1_high_share IS NULL"
            " ELSE f1_share IS NOT NULL AND f1_low_share <= f1_high_share END",
            "An interval belongs to a share, and its lower end is not above its upper end.",
        ),
    ),
    is_published=True,
)

ACTIVE_MODEL = Table(
    name="active_model",
    description="One row: the model whose scores current_sentiment shows.",
    columns=(
        Column("model_fingerprint", "VARCHAR", "Fingerprint of the active model.", True),
        Column("model_name", "VARCHAR", "Its name.", True),
        Column("model_version", "VARCHAR", "Version of its engine.", True),
    ),
    key=("model_fingerprint",),
    is_published=True,
)

CURRENT_SENTIMENT_VIEW = """
CREATE OR REPLACE VIEW current_sentiment AS
SELECT s.feedback_id, s.posted_at, c.feed, c.language, s.scored_text_hash, s.model_name,
       s.model_version, s.model_fingerprint, s.negative, s.neutral, s.positive, s.compound,
       s.label, s.scored_at
FROM cleaned_feedback c
JOIN sentiment_scores s
  ON s.feedback_id = c.feedback_id AND s.posted_at = c.posted_at
 AND s.scored_text_hash = c.scored_text_hash
WHERE s.model_fingerprint = (SELECT a.model_fingerprint FROM active_model a)
"""
