"""The kinds of sources, for people who choose one: what each needs and allows, and a feedback.yaml to start from."""

from dataclasses import asdict
from datetime import timedelta
from importlib.resources import files

from data_platform.feed_settings import FEED_KINDS
from data_platform.ingestion.connectors.connector import Traits
from data_platform.ingestion.connectors.registry import CONNECTORS, connector_class

FILE_TRAITS = Traits(
    title="files: CSV, TSV, JSON, NDJSON, Parquet, Excel",
    reach="whatever the files hold",
    edits="a later file with the same ids",
    deletions="a column that says so (is_deleted, change)",
    overlap=timedelta(),
    id_type="as the file writes it; rounded ids are refused",
    cost="nothing; a file is read once",
    needs="a path, and which column is what",
)
WEBHOOK_TRAITS = Traits(
    title="webhook: what others send to data-platform webhook",
    reach="from the first request on",
    edits="a later request with the same id",
    deletions="a request whose mapped change or is_deleted says so",
    overlap=timedelta(),
    id_type="as the sender writes it",
    cost="nothing",
    needs="a secret that the sender signs with, and an address that the sender reaches",
)


def source_traits() -> dict[str, dict[str, str]]:
    """Return the traits of every kind of source, as text, by kind."""
    return {kind: _told(_traits(kind)) for kind in FEED_KINDS}


def template(kind: str) -> str:
    """Return a commented feedback.yaml with one feed of a kind."""
    folder = files("data_platform").joinpath("feed_templates")
    return folder.joinpath(f"{kind}.yaml").read_text("utf-8")


def _traits(kind: str) -> Traits:
    if kind in CONNECTORS:
        return connector_class(kind).traits
    return FILE_TRAITS if kind == "file" else WEBHOOK_TRAITS


def _told(traits: Traits) -> dict[str, str]:
    hours = traits.overlap.total_seconds() / 3600
    told = {name: str(value) for name, value in asdict(traits).items()}
    return {**told, "overlap": f"{hours:g} h" if hours else "none"}
