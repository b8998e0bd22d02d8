"""A gateway in its own process and a client that speaks to it over HTTP, as an engine would."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

TERMINAL = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}
SERVE = [sys.executable, "-c", "import sys; from tesgw.cli import main; sys.exit(main())", "serve", "--port", "0"]
PATIENCE_SECONDS = 60.0


@dataclass
class Gateway:
    """One gateway over any number of starts: what it keeps lies below `home`."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    command: Sequence[str] = tuple(SERVE)
    process: subprocess.Popen[str] | None = None
    url: str = ""

    @property
    def work_dir(self) -> Path:
        return self.home / "work"

    @property
    def files(self) -> Path:
        """The directory that `file://` URLs may name."""
        return self.home / "files"

    @property
    def shared(self) -> Path:
        return self.work_dir / "shared-global"

    def start(self) -> None:
        self.files.mkdir(exist_ok=True)
        given = {"LOCAL_WORK_DIR": str(self.work_dir), "LOCAL_FILE_ROOTS": str(self.files), **self.settings}
        log = (self.home / "gateway.log").open("ab")
        self.process = subprocess.Popen(
            self.command,
            cwd=self.home,
            env={**os.environ, **{f"APP_{name}": value for name, value in given.items()}},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], PATIENCE_SECONDS)[0], self.log()
        words = self.process.stdout.readline().split()
        assert words, self.log()
        self.url = next(word for word in words if word.startswith("http")).removesuffix("/ga4gh/tes/v1")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process:
            assert self.process.stdout
            self.process.send_signal(number)
            self.process.wait(PATIENCE_SECONDS)
            self.process.stdout.close()
            self.process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def remove_containers(self) -> None:
        """Remove what a stopped gateway would have removed after its next start."""
        label = f"label=tesgw.instance={(self.work_dir / 'instance').read_text()}"
        listed = ["docker", "ps", "--all", "--quiet", "--filter", label]
        left = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
        subprocess.run(["docker", "rm", "--force", "--volumes", *left], capture_output=True, check=bool(left))

    def log(self) -> str:
        if not self.process:
            return ""
        return (self.home / "gateway.log").read_text()

    def submit(self, *commands: str, base: str = "/ga4gh/tes/v1", **fields: Any) -> str:
        """Post a task whose executors are these shell commands, or those in `fields`, and return its id."""
        executors = [{"image": "busybox", "command": ["sh", "-c", command]} for command in commands]
        answer = requests.post(f"{self.url}{base}/tasks", json={"executors": executors, **fields}, timeout=30)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def get(self, task_id: str, view: str = "FULL", base: str = "/ga4gh/tes/v1") -> dict[str, Any]:
        answer = requests.get(f"{self.url}{base}/tasks/{task_id}", params={"view": view}, timeout=30)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def cancel(self, task_id: str) -> None:
        answer = requests.post(f"{self.url}/ga4gh/tes/v1/tasks/{task_id}:cancel", timeout=30)
        assert (answer.status_code, answer.json()) == (200, {})

    def wait(self, task_id: str, *states: str) -> dict[str, Any]:
        """The FULL task once it is in one of these states, or has ended."""
        wanted = set(states) | TERMINAL
        end = time.monotonic() + PATIENCE_SECONDS
        while self.get(task_id, "MINIMAL")["state"] not in wanted:
            assert time.monotonic() < end, (self.get(task_id), self.log()[-5000:])
            time.sleep(0.05)
        return self.get(task_id)

    def run(self, *commands: str, **fields: Any) -> dict[str, Any]:
        return self.wait(self.submit(*commands, **fields))

    def until(self, condition: Any) -> None:
        """Wait until `condition()` is true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, self.log()[-5000:]
            time.sleep(0.05)


def containers(task_id: str) -> list[str]:
    """The names of the task's containers, whatever they do."""
    command = ["docker", "ps", "--all", "--filter", f"name={task_id}", "--format", "{{.Names}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def system_logs(task: dict[str, Any]) -> str:
    return "\n".join(task["logs"][-1].get("system_logs", []))


def stdout(task: dict[str, Any], executor: int = 0) -> str:
    return str(task["logs"][-1]["logs"][executor].get("stdout", ""))
