"""What the README tells a newcomer to run works as it says."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.check_budgets import ROOT
from scripts.gateway import serving

PATHS = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
FIRST_TASK = [sys.executable, "-m", "scripts.first_task"]


@pytest.fixture(scope="module")
def gateway_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(0, {"LOCAL_WORK_DIR": str(tmp_path_factory.mktemp("data"))}) as gateway:
        yield gateway.url


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.engine
def test_py_tes_example_prints_the_sorted_names(gateway_url: str) -> None:
    output = _output(sys.executable, "-W", "ignore", str(ROOT / "examples/first_task.py"), gateway_url)

    assert output.split() == ["COMPLETE", "Ada", "Barbara", "Grace"]


@pytest.mark.engine
def test_curl_example_shows_the_finished_task(gateway_url: str) -> None:
    output = _output("sh", str(ROOT / "examples/first_task.sh"), gateway_url)

    task = json.loads(output.splitlines()[-1])
    assert task["state"] == "COMPLETE"
    assert task["logs"][0]["logs"][0]["stdout"] == "Ada\nBarbara\nGrace\n"


@pytest.mark.engine
def test_first_task_once_delivers_its_output_and_stops(tmp_path: Path) -> None:
    done = subprocess.run([*FIRST_TASK, "--once", "--port", "0"], cwd=tmp_path, env=PATHS, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "COMPLETE" in done.stdout
    assert (tmp_path / "tesgw-data/first-task/words.txt").read_text().split() == ["3", "rose", "3", "a", "2", "is"]


@pytest.mark.engine
def test_ctrl_c_stops_the_gateway_and_is_no_failure(tmp_path: Path) -> None:
    command = [*FIRST_TASK, "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=PATHS, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        serving_line = next(line for line in driver.stdout if line.startswith("Serving"))
        driver.send_signal(signal.SIGINT)

        assert driver.wait(30) == 0
    port = int(serving_line.split("127.0.0.1:")[1].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_busy_port_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*FIRST_TASK, "--once", "--port", str(port)]
        done = subprocess.run(command, cwd=tmp_path, env=PATHS, capture_output=True, text=True)

    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
