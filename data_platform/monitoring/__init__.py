"""Watches over the pipeline and the data: health of the sources, checks against the usual, alerts."""
