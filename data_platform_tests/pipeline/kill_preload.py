"""What the processes that are to be killed have imported before they are forked."""

import data_platform.cli
import data_platform.definitions
import data_platform.reporting.report
import data_platform.sentiment.vader

__all__ = ["data_platform"]
