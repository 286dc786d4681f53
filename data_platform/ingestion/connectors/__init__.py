"""One module for each kind of source: it delivers pages of records, and knows neither storage nor Dagster."""
