"""How many requests a second the API answers, beside a handler that does nothing and is served the same way."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks import tasks
from benchmarks.load import rate
from scripts.gateway import DIRECT, Gateway, serving

ROUNDS = 3
TASKS = "/ga4gh/tes/v1/tasks"
FULL_PAGE = f"{TASKS}?view=FULL&page_size=256"


@dataclass(frozen=True)
class Rate:
    """Requests a second, and those of the do-nothing handler in the same rounds, with answers of the same size."""

    what: str
    stored: int
    gateway: float
    nothing: float
    memory_mb: float
    """What the gateway's process holds after that, but for the database file, of which it maps what it reads."""


def measure(stored: int, seconds: float) -> Iterator[Rate]:
    """Creates last: they add open tasks, which the gateway then looks after."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        asyncio.run(tasks.fill(f"sqlite+aiosqlite:///{data}/tesgw.db", stored))
        with _serve("gateway", "--data", directory) as gateway, _serve("nothing") as nothing:
            body = orjson.dumps(tasks.realistic())
            for what, paths, post in (
                ("MINIMAL gets", [f"{TASKS}/{task_id}" for task_id in _ids(gateway.url)], b""),
                ("pages of 256 FULL", _pages(gateway.url), b""),
                ("durable creates", [TASKS], body),
            ):
                yield _compare(what, stored, (gateway, nothing), paths, seconds, post)


def _serve(*what: str) -> Any:
    return serving(0, {}, ("-m", "benchmarks.serve", *what))


def _compare(
    what: str, stored: int, servers: tuple[Gateway, Gateway], paths: Sequence[str], seconds: float, body: bytes
) -> Rate:
    gateway, nothing = servers
    size = 40 if body else len(_read(gateway.url + paths[0]))
    pairs = [
        (rate(gateway.url, paths, seconds=seconds, body=body), rate(nothing.url, [f"/{size}"], seconds=seconds, body=body))
        for _ in range(ROUNDS)
    ]
    ours, theirs = zip(*pairs, strict=True)
    return Rate(what, stored, median(ours), median(theirs), _memory_mb(gateway.process.pid))


def _ids(base: str) -> list[str]:
    return [task["id"] for page in _walk(base, f"{TASKS}?page_size=2047") for task in page["tasks"]]


def _pages(base: str) -> list[str]:
    """The paths of all pages of 256 FULL tasks, but for the last, which may be short."""
    tokens = [page.get("next_page_token", "") for page in _walk(base, f"{TASKS}?page_size=256")]
    return [f"{FULL_PAGE}&page_token={token}" for token in ["", *tokens][:-2]]


def _walk(base: str, path: str) -> Iterator[dict[str, Any]]:
    page: dict[str, Any] = json.loads(_read(base + path))
    yield page
    while token := page.get("next_page_token"):
        page = json.loads(_read(f"{base}{path}&page_token={token}"))
        yield page


def _read(url: str) -> bytes:
    with DIRECT.open(url, timeout=60) as answer:
        body: bytes = answer.read()
        return body


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("RssAnon:"))
