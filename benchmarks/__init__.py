"""Scripts that print figures anyone can repeat; each names its baseline and runs it beside."""
