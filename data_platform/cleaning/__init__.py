"""Text made ready for scoring: cleaning, language and copies, in pure functions from Arrow to Arrow."""
