"""Starts that fail: a sentence for the operator, and nothing is left open or locked."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from scripts.gateway import SERVE
from tesgw.api import serving
from tesgw.app import create_app
from tesgw.cli import main
from tests.core.test_app import Scripted, settings


def test_a_busy_port_is_a_sentence_and_nothing_is_touched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        command = [sys.executable, *SERVE, "--port", str(port)]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"tesgw: Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another --host or --port.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["a..b", "x" * 300, "192.0.2.1"])
def test_an_address_that_is_not_ours_is_a_sentence(capsys: pytest.CaptureFixture[str], host: str) -> None:
    assert main(["serve", "--host", host]) == 1
    assert capsys.readouterr().err.startswith(f"tesgw: Cannot listen on {host}:8000: ")


@pytest.mark.parametrize("port", ["65536", "-1", "x", "", "8_0", "000000999999", "9" * 5000])
def test_a_port_that_is_none_is_a_short_sentence(capsys: pytest.CaptureFixture[str], port: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", f"--port={port}"])
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith("is no port: a port is a number up to 65535")
    assert len(told) < 120


async def test_a_start_that_fails_half_way_closes_what_it_opened(tmp_path: Path) -> None:
    async def fail(app: web.Application) -> None:
        raise OSError("half-way")

    app = await create_app(settings(tmp_path), specs={"scripted": Scripted})
    app.on_startup.append(fail)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(OSError, match="half-way"):
        async with serving(app, listener, grace_seconds=1):
            pass

    await _can_start(tmp_path)


async def test_a_listener_that_cannot_be_served_closes_what_was_opened(tmp_path: Path) -> None:
    app = await create_app(settings(tmp_path), specs={"scripted": Scripted})
    closed = socket.create_server(("127.0.0.1", 0))
    closed.close()
    with pytest.raises((OSError, ValueError)):
        async with serving(app, closed, grace_seconds=1):
            pass

    await _can_start(tmp_path)


async def _can_start(tmp_path: Path) -> None:
    app = await create_app(settings(tmp_path), specs={"scripted": Scripted})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(app, listener, grace_seconds=1):
            pass
