"""Feedback in: connectors, the post contract, the landing writer and its ledger, raw_feedback and quarantine."""
