"""Made-up customer feedback of invented companies: the embedded default input and the benchmarks' input."""

from data_platform.sample.embedded import ensure_sample
from data_platform.sample.feeds import SAMPLE_FEEDS
from data_platform.sample.generation import generate_posts, iterate_posts
from data_platform.sample.summary import FeedSummary, SampleSummary
from data_platform.sample.writing import write_sample

__all__ = [
    "SAMPLE_FEEDS",
    "FeedSummary",
    "SampleSummary",
    "ensure_sample",
    "generate_posts",
    "iterate_posts",
    "write_sample",
]
