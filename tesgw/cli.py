"""The command `tesgw`: serve, backends, settings."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tesgw import api, backends, settings
from tesgw.app import create_app
from tesgw.errors import BackendError, SettingsError, TesgwError
from tesgw.settings import Settings

GRACE_SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 for success, 1 with a sentence on standard error for what the operator has to mend."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s %(fields)s", stream=sys.stderr
    )
    logging.getLogger().handlers[0].addFilter(_fields)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return int(options.run(options))
    except TesgwError as error:
        print(f"tesgw: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tesgw", description="A GA4GH TES 1.1 gateway whose compute backends are plugins.")
    parser.add_argument("--settings", type=Path, help="the settings file (settings.toml, if it exists)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the gateway until it is interrupted")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    serve.add_argument("--port", type=_port, default=8000, help="the port to listen on; 0 picks a free one (%(default)s)")
    serve.set_defaults(run=_serve)
    commands.add_parser("backends", help="list the installed backends").set_defaults(run=_list_backends)
    commands.add_parser("settings", help="print every setting, its value and its source").set_defaults(run=_list_settings)
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no port: a port is a number up to 65535")
    return int(text)


def load_settings(file: Path | None) -> Settings:
    """The settings of the core and of the configured backend."""
    declared = settings.SETTINGS
    name = settings.load(declared, file=file)["COMPUTE_BACKEND"]
    return settings.load((*declared, *backends.load_class(name).settings), file=file, backend=name)


def _serve(options: argparse.Namespace) -> int:
    values = load_settings(options.settings)
    uvloop.run(_serve_until_stopped(values, options.host, options.port))
    return 0


async def _serve_until_stopped(values: Settings, host: str, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with _listen(host, port) as listener:
        app = await create_app(values, host=host)
        async with api.serving(app, listener, grace_seconds=GRACE_SECONDS):
            print(f"tesgw serves {_url(listener)}/ga4gh/tes/v1 with the backend {values['COMPUTE_BACKEND']!r}", flush=True)
            await stopped.wait()


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is built on the database, so that a second gateway by mistake touches nothing."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        # Python adds the address once more.
        cause = (getattr(error, "strerror", None) or str(error)).partition(" (while attempting")[0]
        raise SettingsError(f"Cannot listen on {host}:{port}: {cause}. Choose another --host or --port.") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _list_backends(options: argparse.Namespace) -> int:
    for name, point in sorted(backends.discover().items()):
        try:
            backends.load_class(name)
            print(f"{name}\t{point.value}")
        except BackendError as error:
            print(f"{name}\t{error}")
    return 0


def _list_settings(options: argparse.Namespace) -> int:
    values = load_settings(options.settings)
    for name, value in sorted(values.items()):
        shown = "(hidden)" if name in values.secrets and value else repr(value) if isinstance(value, str) else str(value)
        print(f"{name} = {shown}  # {values.sources[name]}")
    return 0


_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"fields", "message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> bool:
    """Append what `extra` holds: log events are a constant message plus fields."""
    extra = ((name, value) for name, value in record.__dict__.items() if name not in _PLAIN)
    record.fields = " ".join(f"{name}={value!s}" for name, value in extra)
    return True
