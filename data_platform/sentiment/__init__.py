"""Scores for texts: models behind one interface, and the scoring of what has no score yet."""
