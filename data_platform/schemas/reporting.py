"""Tables of the stage reporting: the marts."""

from data_platform.schemas.cleaning import LANGUAGE
from data_platform.schemas.posts import FEED
from data_platform.schemas.sentiment import SCORED
from data_platform.schemas.table import Column, RowRule, Table, carried

COMPOUND = ("sentiment_scores.compound",)
NEGATIVE_SHARE = (
    Column(
        "negative_share",
        "DOUBLE",
        "Negative of scored posts, 0 to 1; null if none was scored.",
        derived_from=SCORED,
    ),
    Column(
        "negative_low_share",
        "DOUBLE",
        "Lower end of the 95 % Wilson interval of negative_share; null with it.",
        derived_from=SCORED,
    ),
    Column(
        "negative_high_share",
        "DOUBLE",
        "Upper end of the 95 % Wilson interval of negative_share; null with it.",
        derived_from=SCORED,
    ),
)
SHARES_ARE_ORDERED = RowRule(
    "shares_are_ordered",
    "CASE WHEN scored_count = 0 THEN negative_share IS NULL AND negative_low_share IS NULL"
    " AND negative_high_share IS NULL ELSE negative_low_share BETWEEN 0 AND negative_share"
    " AND negative_high_share BETWEEN negative_share AND 1 END",
    "A share lies within its interval, which lies within 0 and 1.",
)

DAILY_SENTIMENT = Table(
    name="daily_sentiment",
    description="One row per day, feed and language: how much was said, and how it felt.",
    columns=(
        Column("date", "DATE", "Day of posting (UTC).", True, ("cleaned_feedback.posted_at",)),
        *carried("cleaned_feedback", FEED, LANGUAGE),
        Column("post_count", "BIGINT", "Posts.", True, ("cleaned_feedback.feedback_id",)),
        Column(
            "duplicate_count",
            "BIGINT",
            "Posts that copy another post of the day (they are counted in post_count too).",
            True,
            ("cleaned_feedback.duplicate_of",),
        ),
        Column("scored_count", "BIGINT", "Posts with a score.", True, SCORED),
        Column("negative_count", "BIGINT", "Posts scored negative.", True, SCORED),
        Column("neutral_count", "BIGINT", "Posts scored neutral.", True, SCORED),
        Column("positive_count", "BIGINT", "Posts scored positive.", True, SCORED),
        Column(
            "strongly_negative_count",
            "BIGINT",
            "Negative posts with a compound of -0.5 or less.",
            True,
            COMPOUND,
        ),
        Column(
            "strongly_positive_count",
            "BIGINT",
            "Positive posts with a compound of 0.5 or more.",
            True,
            COMPOUND,
        ),
        Column(
            "no_known_word_count",
            "BIGINT",
            "Scored posts of which the model knows no word: their neutral share is 1.",
            True,
            ("sentiment_scores.neutral",),
        ),
        Column(
            "mean_compound",
            "DOUBLE",
            "Mean compound of the scored posts, -1 to 1; null if none was scored.",
            derived_from=COMPOUND,
        ),
        Column(
            "net_sentiment_share",
            "DOUBLE",
            "(positive - negative) / scored, -1 to 1; null if none was scored.",
            derived_from=SCORED,
        ),
        *NEGATIVE_SHARE,
    ),
    key=("date", "feed", "language"),
    day_column="date",
    row_rules=(
        RowRule(
            "counts_add_up",
            "negative_count + neutral_count + positive_count = scored_count"
            " AND scored_count <= post_count AND duplicate_count <= post_count",
            "The three classes add up to the scored posts.",
        ),
        SHARES_ARE_ORDERED,
    ),
    is_published=True,
)

TOPIC_SENTIMENT = Table(
    name="topic_sentiment",
    description="One row per day, feed and topic (such as a product) that the feed maps.",
    columns=(
        Column("date", "DATE", "Day of posting (UTC).", True, ("fct_feedback.posted_at",)),
        Column("feed", "VARCHAR", "Name of the feed.", True, ("fct_feedback.feed_id",)),
        Column("topic", "VARCHAR", "Product or topic.", True, ("fct_feedback.topic",)),
        Column("post_count", "BIGINT", "Posts.", True, ("fct_feedback.feedback_id",)),
        Column("scored_count", "BIGINT", "Posts with a score.", True, SCORED),
        Column("negative_count", "BIGINT", "Posts scored negative.", True, SCORED),
        Column("positive_count", "BIGINT", "Posts scored positive.", True, SCORED),
        Column(
            "mean_compound",
            "DOUBLE",
            "Mean compound of the scored posts, -1 to 1; null if none was scored.",
            derived_from=COMPOUND,
        ),
        Column(
            "net_sentiment_share",
            "DOUBLE",
            "(positive - negative) / scored, -1 to 1; null if none was scored.",
            derived_from=SCORED,
        ),
        *NEGATIVE_SHARE,
    ),
    key=("date", "feed", "topic"),
    day_column="date",
    row_rules=(
        RowRule(
            "counts_add_up",
            "negative_count + positive_count <= scored_count AND scored_count <= post_count",
            "No more posts are scored than there are.",
        ),
        SHARES_ARE_ORDERED,
    ),
    is_published=True,
)

WEEKLY_SENTIMENT = Table(
    name="weekly_sentiment",
    description=(
        "One row per week, feed, language and topic: how much was said, how it felt, and how the"
        " four weeks before were. Either language or topic is 'all', or both are."
    ),
    columns=(
        Column(
            "week_date", "DATE", "Monday of the ISO week (UTC).", True, ("daily_sentiment.date",)
        ),
        Column("feed", "VARCHAR", "Name of the feed.", True, ("daily_sentiment.feed",)),
        Column(
            "language",
            "VARCHAR",
            "ISO 639 code; 'all': all languages.",
            True,
            ("daily_sentiment.language",),
        ),
        Column(
            "topic",
            "VARCHAR",
            "Product or topic; 'all': every post.",
            True,
            ("topic_sentiment.topic",),
        ),
        Column(
            "is_complete",
            "BOOLEAN",
            "True once the Sunday is over (UTC) and the feed's first day lies before the Monday.",
            True,
            ("daily_sentiment.date",),
        ),
        Column("post_count", "BIGINT", "Posts.", True, ("daily_sentiment.post_count",)),
        Column(
            "scored_count", "BIGINT", "Posts with a score.", True, ("daily_sentiment.scored_count",)
        ),
        Column(
            "negative_count",
            "BIGINT",
            "Posts scored negative.",
            True,
            ("daily_sentiment.negative_count",),
        ),
        Column(
            "positive_count",
            "BIGINT",
            "Posts scored positive.",
            True,
            ("daily_sentiment.positive_count",),
        ),
        Column(
            "net_sentiment_share",
            "DOUBLE",
            "(positive - negative) / scored, -1 to 1; null if none was scored.",
            derived_from=SCORED,
        ),
        *NEGATIVE_SHARE,
        Column(
            "baseline_post_count",
            "DOUBLE",
            "Mean posts of those of the four weeks before that have any; null: none has.",
            derived_from=("daily_sentiment.post_count",),
        ),
        Column(
            "baseline_negative_share",
            "DOUBLE",
            "Negative of scored posts of the four weeks before, 0 to 1; null: none was scored.",
            derived_from=SCORED,
        ),
    ),
    key=("week_date", "feed", "language", "topic"),
    row_rules=(
        RowRule(
            "counts_add_up",
            "negative_count + positive_count <= scored_count AND scored_count <= post_count",
            "No more posts are scored than there are.",
        ),
        SHARES_ARE_ORDERED,
    ),
    is_published=True,
)

TOP_POSTS = Table(
    name="top_posts",
    description="One row per week, feed and rank: the posts that most people reacted to, of eight weeks.",
    columns=(
        Column(
            "week_date", "DATE", "Monday of the ISO week (UTC).", True, ("fct_feedback.posted_at",)
        ),
        Column("feed", "VARCHAR", "Name of the feed.", True, ("fct_feedback.feed_id",)),
        Column("rank", "INTEGER", "1: most reactions.", True, ("fct_feedback.like_count",)),
        Column("feedback_id", "VARCHAR", "The post.", True, ("fct_feedback.feedback_id",)),
        Column(
            "reaction_count",
            "BIGINT",
            "Likes, shares and replies together, at the latest observation.",
            True,
            ("fct_feedback.like_count", "fct_feedback.share_count", "fct_feedback.reply_count"),
        ),
    ),
    key=("week_date", "feed", "rank"),
    row_rules=(RowRule("reactions_are_some", "reaction_count > 0", "Only posts with reactions."),),
    is_published=True,
)

_SAID = ("cleaned_feedback.body_clean",)
RISING_TERMS = Table(
    name="rising_terms",
    description=(
        "One row per period, feed, language and term: words and two-word phrases that more posts"
        " hold than before. Periods are the latest seven days and the latest incidents."
    ),
    columns=(
        Column(
            "first_date", "DATE", "First day of the period.", True, ("cleaned_feedback.posted_at",)
        ),
        Column(
            "last_date", "DATE", "Last day of the period.", True, ("cleaned_feedback.posted_at",)
        ),
        Column("feed", "VARCHAR", "Name of the feed.", True, ("cleaned_feedback.feed",)),
        Column("language", "VARCHAR", "ISO 639 code.", True, ("cleaned_feedback.language",)),
        Column("term", "VARCHAR", "One or two words, in lower case.", True, _SAID),
        Column("rank", "INTEGER", "1: rises most.", True, _SAID),
        Column("post_count", "BIGINT", "Posts of the sample that hold it.", True, _SAID),
        Column(
            "sample_count",
            "BIGINT",
            "Posts of the period in the sample; copies are left out.",
            True,
            _SAID,
        ),
        Column("share", "DOUBLE", "Posts that hold it, 0 to 1.", True, _SAID),
        Column(
            "baseline_share", "DOUBLE", "The same of the 28 days before the period.", True, _SAID
        ),
        Column(
            "score",
            "DOUBLE",
            "Log-odds ratio with an informative Dirichlet prior, in standard deviations.",
            True,
            _SAID,
        ),
        Column(
            "net_sentiment_share",
            "DOUBLE",
            "(positive - negative) / scored of the posts that hold it; null if none was scored.",
            derived_from=SCORED,
        ),
    ),
    key=("first_date", "last_date", "feed", "language", "term"),
    row_rules=(
        RowRule(
            "shares_are_between_0_and_1",
            "share BETWEEN 0 AND 1 AND baseline_share BETWEEN 0 AND 1 AND post_count <= sample_count",
            "A term is held by some of the posts.",
        ),
    ),
    is_published=True,
)

CAMPAIGNS = Table(
    name="campaigns",
    description=(
        "One row per campaign: posts of the latest 28 days whose texts are nearly the same, folded"
        " into one. The text is that of the post campaign_id."
    ),
    columns=(
        Column("campaign_id", "VARCHAR", "feedback_id of the earliest post.", True, _SAID),
        Column(
            "feed_count", "INTEGER", "Feeds that it was seen in.", True, ("cleaned_feedback.feed",)
        ),
        Column(
            "language",
            "VARCHAR",
            "Language of the earliest post.",
            True,
            ("cleaned_feedback.language",),
        ),
        Column(
            "first_posted_at",
            "TIMESTAMPTZ",
            "Earliest post.",
            True,
            ("cleaned_feedback.posted_at",),
        ),
        Column(
            "last_posted_at", "TIMESTAMPTZ", "Latest post.", True, ("cleaned_feedback.posted_at",)
        ),
        Column("post_count", "BIGINT", "Posts.", True, ("cleaned_feedback.feedback_id",)),
        Column("author_count", "BIGINT", "Known authors.", True, ("fct_feedback.author_id",)),
        Column("text_count", "BIGINT", "Different texts among them.", True, _SAID),
        Column(
            "net_sentiment_share",
            "DOUBLE",
            "(positive - negative) / scored, -1 to 1; null if none was scored.",
            derived_from=SCORED,
        ),
    ),
    key=("campaign_id",),
    row_rules=(
        RowRule("counts_are_ordered", "text_count BETWEEN 1 AND post_count", "Texts are of posts."),
    ),
    is_published=True,
)
