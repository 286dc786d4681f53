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
_MODEL = tuple(
    carried(
        "sentiment_scores",
        *(SENTIMENT_SCORES.by_name[name] for name in ("model_fingerprint", "model_name")),
    )
)
_TRUTH_NAME = Column(
    "truth",
    "VARCHAR",
    "What the scores are compared with: 'label' (a person's verdict that the feed brings), 'human'"
    " (one given here, by data-platform label) or 'rating' (the author's own: up to 0.4 negative,"
    " from 0.6 on positive, in between neutral).",
    True,
    TRUTH,
)
SENTIMENT_EVALUATION = Table(
    name="sentiment_evaluation",
    description=(
        "One row per feed, language, truth and class: how the active model's labels compare with"
        " people's labels and ratings; copies and deleted posts are left out."
    ),
    columns=(
        *_MODEL,
        *carried("cleaned_feedback", FEED),
        Column(
            "language",
            "VARCHAR",
            "ISO 639 code; 'all': all languages of the feed together.",
            True,
            ("cleaned_feedback.language",),
        ),
        _TRUTH_NAME,
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
            "truth IN ('label', 'rating', 'human')"
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

_SCORED_POSTS = ("sentiment_scores.compound", "sentiment_scores.label")
SENTIMENT_CALIBRATION = Table(
    name="sentiment_calibration",
    description=(
        "One row per feed, truth and range of compound scores: how many of the posts that were"
        " scored so people called negative and positive."
    ),
    columns=(
        *_MODEL,
        *carried("cleaned_feedback", FEED),
        _TRUTH_NAME,
        Column(
            "bin",
            "INTEGER",
            "Number of the range, 0 (from -1 on) to 9 (up to 1).",
            True,
            _SCORED_POSTS,
        ),
        Column("post_count", "BIGINT", "Posts compared in the range.", True, _SCORED_POSTS),
        Column("mean_compound", "DOUBLE", "Mean score of the range, -1 to 1.", True, _SCORED_POSTS),
        *(
            Column(
                f"{label}_{kind}share",
                "DOUBLE",
                f"{words} of those that people called {label}, 0 to 1.",
                True,
                TRUTH,
            )
            for label in ("negative", "positive")
            for kind, words in (
                ("", "Share"),
                ("low_", "Lower end of the 95 % Wilson interval of the share"),
                ("high_", "Upper end of the 95 % Wilson interval of the share"),
            )
        ),
    ),
    key=("model_fingerprint", "feed", "truth", "bin"),
    row_rules=(
        RowRule(
            "shares_are_between_0_and_1",
            "negative_share BETWEEN 0 AND 1 AND positive_share BETWEEN 0 AND 1"
            " AND negative_share + positive_share <= 1.000001",
            "A post is negative, neutral or positive.",
        ),
        RowRule(
            "intervals_hold_their_share",
            "negative_share BETWEEN negative_low_share AND negative_high_share"
            " AND positive_share BETWEEN positive_low_share AND positive_high_share",
            "An interval holds the share that it belongs to.",
        ),
    ),
    is_published=True,
)

SENTIMENT_CONFUSIONS = Table(
    name="sentiment_confusions",
    description=(
        "Up to three posts per feed, truth and pair of classes that were taken for each other: those"
        " that the model was surest of. Their text is that of cleaned_feedback."
    ),
    columns=(
        *_MODEL,
        *carried("cleaned_feedback", FEED),
        _TRUTH_NAME,
        Column("true_label", "VARCHAR", "What people say of the posts.", True, TRUTH),
        Column("predicted_label", "VARCHAR", "What the model says of them.", True, SCORED),
        Column(
            "rank",
            "INTEGER",
            "1 for the post with the greatest score either way.",
            True,
            _SCORED_POSTS,
        ),
        Column(
            "post_count", "BIGINT", "Posts of this pair of classes in all.", True, (*TRUTH, *SCORED)
        ),
        *carried("cleaned_feedback", FEEDBACK_ID),
        *carried("sentiment_scores", SENTIMENT_SCORES.by_name["compound"]),
    ),
    key=("model_fingerprint", "feed", "truth", "true_label", "predicted_label", "rank"),
    row_rules=(
        RowRule(
            "classes_differ",
            "true_label <> predicted_label AND rank BETWEEN 1 AND 3",
            "A confusion is of two classes.",
        ),
    ),
    is_published=True,
)

MODEL_COMPARISON = Table(
    name="model_comparison",
    description=(
        "One row per feed and former model: how its scores differ from those of the latest model on"
        " the same texts, of the 90 days until the latest post."
    ),
    columns=(
        *carried("cleaned_feedback", FEED),
        Column(
            "former_fingerprint",
            "VARCHAR",
            "The model that scored before.",
            True,
            ("sentiment_scores.model_fingerprint",),
        ),
        Column(
            "former_version",
            "VARCHAR",
            "Version of its engine.",
            True,
            ("sentiment_scores.model_version",),
        ),
        Column(
            "model_fingerprint",
            "VARCHAR",
            "The latest model.",
            True,
            ("sentiment_scores.model_fingerprint",),
        ),
        Column(
            "model_version",
            "VARCHAR",
            "Version of its engine.",
            True,
            ("sentiment_scores.model_version",),
        ),
        Column(
            "is_active",
            "BOOLEAN",
            "True: current_sentiment shows the latest model.",
            True,
            ("active_model.model_fingerprint",),
        ),
        Column("post_count", "BIGINT", "Current texts that both have scored.", True, _SCORED_POSTS),
        Column(
            "agreement_share", "DOUBLE", "Of them with the same label, 0 to 1.", True, _SCORED_POSTS
        ),
        Column(
            "mean_difference",
            "DOUBLE",
            "Mean of compound, latest minus former, -2 to 2.",
            True,
            _SCORED_POSTS,
        ),
        Column("mean_absolute_difference", "DOUBLE", "Mean distance, 0 to 2.", True, _SCORED_POSTS),
        Column("former_negative_share", "DOUBLE", "Negative by the former model.", True, SCORED),
        Column("negative_share", "DOUBLE", "Negative by the latest model.", True, SCORED),
        Column("judged_count", "BIGINT", "Of them, posts whose truth people tell.", True, TRUTH),
        Column(
            "former_right_share",
            "DOUBLE",
            "Right labels of the former model; null: none is judged.",
            derived_from=(*TRUTH, *SCORED),
        ),
        Column(
            "right_share",
            "DOUBLE",
            "Right labels of the latest model; null: none is judged.",
            derived_from=(*TRUTH, *SCORED),
        ),
    ),
    key=("feed", "former_fingerprint"),
    row_rules=(
        RowRule(
            "models_differ", "former_fingerprint <> model_fingerprint", "Two models are compared."
        ),
        RowRule(
            "shares_are_between_0_and_1",
            "agreement_share BETWEEN 0 AND 1 AND coalesce(right_share, 0) BETWEEN 0 AND 1"
            " AND coalesce(former_right_share, 0) BETWEEN 0 AND 1",
            "Agreement and right labels are shares.",
        ),
    ),
    is_published=True,
)

HUMAN_LABELS = Table(
    name="human_labels",
    description="One row per text that a person judged by data-platform label; it holds no text.",
    columns=(
        *carried("cleaned_feedback", FEEDBACK_ID, SCORED_TEXT_HASH),
        Column("label", "VARCHAR", "negative, neutral or positive.", True),
        Column(
            "selection",
            "VARCHAR",
            "How it was chosen: uncertain (near the border of two classes) or random.",
            True,
        ),
        Column("labelled_at", "TIMESTAMPTZ", "When it was judged.", True),
    ),
    key=("feedback_id", "scored_text_hash"),
    row_rules=(
        RowRule(
            "label_is_known",
            "label IN ('negative', 'neutral', 'positive') AND selection IN ('uncertain', 'random')",
            "Human labels are negative, neutral or positive.",
        ),
    ),
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
