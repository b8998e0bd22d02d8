"""Pulsar, which Galaxy runs its tools through, sends tasks of three executors: stage in, the tool, stage out."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.engines.conftest import Install
from tests.engines.installing import Installed, image
from tests.engines.running import EXAMPLES, Lab, Run, exit_codes

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def pulsar(install: Install) -> tuple[Installed, str]:
    installed = install("pulsar")
    return installed, image(installed)


def start(pulsar: tuple[Installed, str], lab: Lab, directory: Path, command: str) -> Run:
    (directory / "input.dat").write_text("ham and eggs\n")
    script = str(EXAMPLES / "pulsar/job.py")
    return lab.start(pulsar[0].command("python"), script, lab.url, pulsar[1], str(directory), command, cwd=directory)


def test_tool_gets_and_leaves_its_files(pulsar: tuple[Installed, str], lab: Lab, directory: Path) -> None:
    before = lab.seen()

    run = start(pulsar, lab, directory, "tr a-z A-Z < {input} > {output}")

    assert run.end() == 0, run.text()
    assert run.text().split()[-1] == "complete"
    assert (directory / "output.dat").read_text() == "HAM AND EGGS\n"
    (task,) = lab.tasks(before)
    assert (task["state"], exit_codes(task)) == ("COMPLETE", [0, 0, 0])


def test_interrupted_tool_is_cancelled(pulsar: tuple[Installed, str], lab: Lab, directory: Path) -> None:
    run = start(pulsar, lab, directory, "sleep 300")
    task_id = lab.until_running(run, "pulsar-")
    run.process.send_signal(signal.SIGINT)

    assert run.end() == 0, run.text()
    assert run.text().split()[-1] == "cancelled"
    assert lab.gateway.wait(task_id, "CANCELED")["state"] == "CANCELED"
