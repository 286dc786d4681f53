"""The star schema: facts and dimensions of a day, made in one transaction."""
