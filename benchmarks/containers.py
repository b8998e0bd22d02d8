"""What a container costs through the gateway, beside what it costs from Docker's own command line."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.tasks import NO_OP
from scripts.gateway import serving

TASKS = "/ga4gh/tes/v1/tasks"
DOCKER_RUN = ("docker", "run", "--rm", "busybox", "true")
PARALLEL = 8
POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Comparison:
    """Medians of the same work done both ways, in turns."""

    what: str
    unit: str
    gateway: float
    docker: float


class Client:
    """One kept connection to a gateway."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=60)

    def create(self) -> str:
        return str(self._ask("POST", TASKS, json.dumps(NO_OP))["id"])

    def wait(self, task_id: str) -> None:
        """Until the task has ended, as a client sees it that asks every 5 ms."""
        while (state := self._ask("GET", f"{TASKS}/{task_id}")["state"]) != "COMPLETE":
            assert state in {"QUEUED", "INITIALIZING", "RUNNING"}, f"task {task_id} ended as {state}"
            time.sleep(POLL_SECONDS)

    def _ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        self._connection.request(method, path, body)
        answer = self._connection.getresponse()
        document: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, f"{method} {path}: {answer.status} {document}"
        return document


def measure(rounds: int, parallel_tasks: int) -> tuple[Comparison, Comparison]:
    """The latency of a no-op task over so many rounds, then no-op tasks a second with `parallel_tasks` in each of three."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Path(directory, "log").open("w") as log,
        serving(0, {"LOCAL_WORK_DIR": directory}, log=log) as gateway,
    ):
        client = Client(gateway.url)
        _in_turns(1, lambda: _one(client), _docker_run)  # the first of each fills caches
        latency = _in_turns(rounds, lambda: _one(client), _docker_run)
        spent = _in_turns(3, lambda: _many(client, parallel_tasks), lambda: _many_docker_runs(parallel_tasks))
    return (
        Comparison("latency of a no-op task", "ms", latency[0] * 1000, latency[1] * 1000),
        Comparison(f"no-op tasks, {PARALLEL} at once", "/s", parallel_tasks / spent[0], parallel_tasks / spent[1]),
    )


def _in_turns(rounds: int, ours: Callable[[], None], theirs: Callable[[], None]) -> tuple[float, float]:
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(rounds)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _one(client: Client) -> None:
    client.wait(client.create())


def _many(client: Client, count: int) -> None:
    for task_id in [client.create() for _ in range(count)]:
        client.wait(task_id)


def _docker_run() -> None:
    subprocess.run(DOCKER_RUN, check=True, capture_output=True)


def _many_docker_runs(count: int) -> None:
    with ThreadPoolExecutor(PARALLEL) as pool:
        for each in [pool.submit(_docker_run) for _ in range(count)]:
            each.result()
