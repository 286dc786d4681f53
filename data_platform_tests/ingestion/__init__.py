"""Tests of ingestion: the post contract, collecting, the ledger and raw_feedback."""
