"""The command `metrics`: what Prometheus scrapes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data_platform.errors import ConfigurationError
from data_platform.settings import Settings, load_settings
from data_platform.storage.files import replaced
from data_platform.storage.refusals import explained, explained_output

if TYPE_CHECKING:
    from data_platform.monitoring.prometheus import Sample


@click.command()
@click.option("--serve", is_flag=True, help="Answer scrapes at /metrics until it is stopped.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others can reach it only if you say so.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="Port."
)
@click.option(
    "--textfile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write them to this file instead, for the textfile collector of node_exporter. Every user of"
    " this machine may read it; it holds no personal data.",
)
def metrics(serve: bool, host: str, port: int, textfile: Path | None) -> None:
    """Print the platform's metrics as Prometheus reads them; with --serve, answer its scrapes.

    They come from the published snapshot, the ledger and Dagster's instance, so a scrape never
    waits for the pipeline. docs/grafana/feedback_platform.json is a dashboard for them.
    """
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server

    from data_platform.ingestion.feeds import Feeds
    from data_platform.monitoring.prometheus import PlatformCollector

    if serve and textfile:
        message = "--serve answers scrapes, --textfile writes a file: give one of them."
        raise ConfigurationError(message)
    settings = load_settings()
    if textfile:
        settings.require_output_place(textfile)
    registry = CollectorRegistry()
    collector = PlatformCollector(
        settings.snapshot_path, Feeds(settings), lambda: _automation(settings)
    )
    registry.register(collector)
    if textfile:
        content = generate_latest(registry)
        with explained_output(textfile):
            folder = textfile.parent.resolve(strict=True)  # in a new one nobody would look
            with replaced(folder / textfile.name) as draft:
                draft.write_bytes(content)
                draft.chmod(0o644)
    elif not serve:
        click.echo(generate_latest(registry).decode(), nl=False)
    else:
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as error:
            message = (
                f"{host}:{port} cannot be listened on: {error.strerror}; choose another --port"
            )
            raise ConfigurationError(message) from error
        click.echo(f"Metrics: http://{host}:{port}/metrics")
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        with suppress(KeyboardInterrupt):
            stopped.wait()
        server.shutdown()
        server.server_close()
        thread.join()


def _automation(settings: Settings) -> "Iterator[Sample]":
    """Yield whether daemon and sensors are at work."""
    from data_platform.automation.health import read_daemon, read_sensors
    from data_platform.automation.instance import open_instance
    from data_platform.monitoring.prometheus import Sample

    with explained(settings.dagster_home), open_instance(settings.dagster_home) as instance:
        daemon = read_daemon(instance)
        sensors = read_sensors(instance)
    yield Sample("feedback_daemon_up", "1 if the daemon is at work.", daemon.is_running, {})
    for sensor in sensors:
        of = {"sensor": sensor.name}
        is_well = sensor.is_on and sensor.error is None
        yield Sample(
            "feedback_sensor_up", "1 if it is on and its last tick went well.", is_well, of
        )
        tick = sensor.last_tick_at.timestamp() if sensor.last_tick_at else None
        yield Sample("feedback_sensor_tick_timestamp_seconds", "Its last tick.", tick, of)
