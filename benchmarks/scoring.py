"""Times VADER over texts: NLTK and vaderSentiment one by one, the platform's batches cold and warm.

    python benchmarks/scoring.py [--airline FILE.csv]

Prints texts per CPU-second (one thread) and per second (two), each against NLTK in the same run.
"""

ONE_BY_ONE_TEXTS = 5_000
