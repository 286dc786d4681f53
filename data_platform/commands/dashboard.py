"""The command `dashboard`: serves the page that explores the published snapshot."""

import socket
from importlib.util import find_spec
from pathlib import Path

import click

from data_platform.errors import ConfigurationError
from data_platform.settings import load_settings

# Given as flags, which win over STREAMLIT_… variables and over a config.toml in anybody's home.
SAFE_OPTIONS = {
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.disableDataExport": "true",  # Streamlit's own CSV would let formulas through
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.enableAgentApi": "false",
    "server.enableStaticServing": "false",
    "global.developmentMode": "false",
    "runner.magicEnabled": "false",
    "logger.hideWelcomeMessage": "true",
}
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (compared with, not listened on)
# The colors of the report.
LOOKS = {
    "theme.light.primaryColor": "#0b57a4",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f5f6f8",
    "theme.light.textColor": "#1c2733",
    "theme.dark.primaryColor": "#5aa9f0",
    "theme.dark.backgroundColor": "#12161b",
    "theme.dark.secondaryBackgroundColor": "#1b2129",
    "theme.dark.textColor": "#e6eaef",
}


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others can reach it only if you say so. It asks for no password.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Port."
)
@click.option(
    "--public-host",
    metavar="NAME",
    help="Name under which others reach it, such as feedback.example.com behind a reverse proxy.",
)
def dashboard(host: str, port: int, public_host: str | None) -> None:
    """Serve a page to explore the published snapshot: filters, charts, posts, feeds.

    It reads the published file only, never the warehouse, and follows each new snapshot. Needs
    pip install 'customer-feedback-platform[dashboard]'.
    """
    if find_spec("streamlit") is None:
        message = (
            "The dashboard needs Streamlit: pip install 'customer-feedback-platform[dashboard]'"
        )
        raise ConfigurationError(message)
    settings = load_settings()
    _require_free(host, port)
    from streamlit.web.cli import main as streamlit

    import data_platform.reporting as reporting

    page = Path(reporting.__path__[0]) / "dashboard.py"
    click.echo(f"Dashboard: http://{host}:{port}")
    streamlit(
        [
            "run",
            str(page),
            *server_options(host, port, public_host),
            "--",
            str(settings.snapshot_path),
        ],
        prog_name="streamlit",
        standalone_mode=False,
    )


def server_options(host: str, port: int, public_host: str | None) -> list[str]:
    """Return the flags that Streamlit is started with.

    Only requests for its own names get a session, which stops pages whose name was turned to this
    address (DNS rebinding); an address that stands for all of them has no names of its own.
    """
    options = SAFE_OPTIONS | LOOKS | {"server.address": host, "server.port": str(port)}
    options["browser.serverAddress"] = public_host or host
    flags = [f"--{name}={value}" for name, value in options.items()]
    if public_host or host not in EVERY_ADDRESS:
        names = dict.fromkeys(["localhost", "127.0.0.1", "::1", host, public_host or host])
        flags += [f"--server.allowedHosts={name}" for name in names]
    return flags


def _require_free(host: str, port: int) -> None:
    """Raise a ConfigurationError if the port cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        message = f"{host}:{port} cannot be listened on: {error.strerror}; choose another --port"
        raise ConfigurationError(message) from error
