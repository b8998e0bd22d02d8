"""Requests a second: `wrk` where it is installed, else an aiohttp client, which is itself the limit beyond some 3 000/s."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("load.lua")


class LoadError(Exception):
    """Some requests were not answered with 200: the figure would mean nothing."""


def rate(base: str, paths: Sequence[str], *, seconds: float, body: bytes = b"") -> float:
    """Requests a second over `CONNECTIONS` connections, each to one of `paths` at random; with a body they are POSTs."""
    return _wrk(base, paths, seconds, body) if shutil.which("wrk") else asyncio.run(_aiohttp(base, paths, seconds, body))


def _wrk(base: str, paths: Sequence[str], seconds: float, body: bytes) -> float:
    with tempfile.TemporaryDirectory() as directory:
        path_file, body_file = Path(directory, "paths"), Path(directory, "body")
        path_file.write_text("\n".join(paths) + "\n")
        body_file.write_bytes(body)
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", str(SCRIPT), base]
        environment = {**os.environ, "LOAD_PATHS": str(path_file), "LOAD_BODY": str(body_file)}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    result = json.loads(output.splitlines()[-1])
    if result["errors"]:
        raise LoadError(f"{result['errors']} of {result['requests']} requests to {base}{paths[0]} failed")
    return float(result["requests"] / result["seconds"])


async def _aiohttp(base: str, paths: Sequence[str], seconds: float, body: bytes) -> float:
    end = time.monotonic() + seconds

    async def ask(session: aiohttp.ClientSession) -> int:
        answered = 0
        while time.monotonic() < end:
            async with session.request("POST" if body else "GET", base + random.choice(paths), data=body or None) as answer:
                await answer.read()
                if answer.status != 200:
                    raise LoadError(f"{answer.method} {answer.url} was answered with {answer.status}")
                answered += 1
        return answered

    start = time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        answered = await asyncio.gather(*(ask(session) for _ in range(CONNECTIONS)))
    return sum(answered) / (time.monotonic() - start)
