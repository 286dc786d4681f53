"""A data platform for customer feedback: ingestion, cleaning, warehouse, sentiment, monitoring and reporting."""

__version__ = "0.1.0"
