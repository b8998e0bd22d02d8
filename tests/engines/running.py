"""An engine's run as a process, and the tasks that the gateway got from it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.e2e.client import Gateway

PATIENCE_SECONDS = 180.0
EXAMPLES = Path(__file__).parents[2] / "examples/engines"


@dataclass
class Run:
    """A running engine; what it prints goes to a file."""

    process: subprocess.Popen[bytes]
    output: Path

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def end(self) -> int:
        """Its exit code."""
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end after {PATIENCE_SECONDS:.0f} s:\n{self.text()[-5000:]}") from None


@dataclass
class Lab:
    """The gateway, the directory that every task sees at its own path, and the engines that were started."""

    gateway: Gateway
    mounted: Path
    runs: list[Run] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.gateway.url

    def start(self, *command: str, cwd: Path, **env: str) -> Run:
        output = cwd / "engine.log"
        # Warnings of old packages are none of ours; temporary files go where the test's go.
        settings = {**os.environ, "PYTHONWARNINGS": "ignore", "TMPDIR": str(cwd), **env}
        with output.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_heed_interrupts,
            )
        self.runs.append(Run(process, output))
        return self.runs[-1]

    def close(self) -> None:
        """End the engines that failed tests left."""
        for run in self.runs:
            run.process.kill()
            run.process.wait()

    def tasks(self, since: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
        """The FULL tasks but those in `since`, oldest first."""
        listed = requests.get(f"{self.url}/ga4gh/tes/v1/tasks?view=FULL&page_size=1000", timeout=30).json()["tasks"]
        return [task for task in reversed(listed) if task["id"] not in since]

    def seen(self) -> frozenset[str]:
        return frozenset(task["id"] for task in self.tasks())

    def until_running(self, run: Run, name: str) -> str:
        """The id of the one task whose name has `name` in it, once its command runs."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            for task in self.tasks():
                if name in task.get("name", "") and task["state"] == "RUNNING":
                    return str(task["id"])
            assert run.process.poll() is None, run.text()[-5000:]
            assert time.monotonic() < end, run.text()[-5000:]
            time.sleep(0.2)


def _heed_interrupts() -> None:
    """What a shell starts in the background ignores interrupts, and so would all that it starts in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def states(tasks: list[dict[str, Any]]) -> list[str]:
    return [task["state"] for task in tasks]


def exit_codes(task: dict[str, Any]) -> list[int]:
    return [executor["exit_code"] for executor in task["logs"][-1]["logs"]]
