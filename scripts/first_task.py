"""Starts the gateway, runs a first task on it, shows the result, and keeps serving until Ctrl-C (`--once`: stops then)."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

from scripts.gateway import DIRECT, Gateway, NoGateway, serving

ENDS = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}
COMMAND = 'echo "counting the words of $1"; tr -cs "[:alpha:]" "\\n" < "$1" | sort | uniq -c | sort -rn > "$2"'


class DemoError(Exception):
    """The demonstration cannot go on; the text is a sentence for its user."""


def main() -> int:
    options = _options()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    roots = {"LOCAL_FILE_ROOTS": json.dumps([str(_directory())])}
    try:
        with serving(options.port, roots) as gateway:
            is_success = _first_task(gateway.url)
            return int(not is_success) if options.once else _keep_serving(gateway)
    except (DemoError, NoGateway) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return int(options.once)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the first task; exit code 0 if it ended as COMPLETE")
    parser.add_argument("--port", type=int, default=8000, help="where to serve; 0 is any free port (%(default)s)")
    return parser.parse_args()


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _keep_serving(gateway: Gateway) -> int:
    print(f"\nServing {gateway.url}/ga4gh/tes/v1 until Ctrl-C. API page: {gateway.url}/docs", flush=True)
    code = gateway.process.wait()
    raise DemoError(f"The gateway ended by itself (exit code {code}): see its output above.")


def _directory() -> Path:
    return Path("tesgw-data/first-task").absolute()


def _first_task(base: str) -> bool:
    """Run it, show its result; whether it ended well."""
    _directory().mkdir(parents=True, exist_ok=True)
    source, result = _directory() / "poem.txt", _directory() / "words.txt"
    source.write_text("a rose is a rose is a rose\n")
    result.unlink(missing_ok=True)
    tasks = f"{base}/ga4gh/tes/v1/tasks"
    task_id = _call(tasks, _document(source, result))["id"]
    print(f"First task {task_id}: {source} -> {result}", flush=True)
    _follow(f"{tasks}/{task_id}")
    return _show(_call(f"{tasks}/{task_id}?view=FULL"), result)


def _document(source: Path, result: Path) -> dict[str, Any]:
    words = "/tes-wd/shared/words.txt"
    return {
        "name": "first task",
        "inputs": [
            {"path": "/tes-wd/shared/poem.txt", "url": source.as_uri()},
            {"path": "/tes-wd/shared/count.sh", "content": COMMAND},
        ],
        "outputs": [{"path": words, "url": result.as_uri()}],
        "executors": [{"image": "busybox", "command": ["sh", "/tes-wd/shared/count.sh", "/tes-wd/shared/poem.txt", words]}],
        "resources": {"cpu_cores": 1, "ram_gb": 0.1},
    }


def _call(url: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    body = None if document is None else json.dumps(document).encode()
    try:
        with DIRECT.open(urllib.request.Request(url, body), timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise DemoError(f"{url} answered {error.code}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise DemoError(f"{url} did not answer: {error}") from error


def _follow(url: str) -> None:
    shown = ""
    while shown not in ENDS:
        state = _call(url)["state"]
        if state != shown:
            print(f"  {state}", flush=True)
        shown = state
        time.sleep(0.05)


def _show(task: dict[str, Any], result: Path) -> bool:
    for attempt in task.get("logs", ()):
        for executor in attempt["logs"]:
            print(f"  exit code {executor.get('exit_code')}, stdout: {executor.get('stdout', '').strip()}")
        for line in attempt.get("system_logs", ()):
            print(f"  system log: {line}")
    if result.exists():
        print(f"  {result.name}:\n{result.read_text().rstrip()}")
    sys.stdout.flush()
    return bool(task["state"] == "COMPLETE" and result.exists())


if __name__ == "__main__":
    sys.exit(main())
