"""Toil keeps its job store in a directory that every task sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.conftest import Install
from tests.engines.installing import Installed, image
from tests.engines.running import EXAMPLES, Lab, Run, exit_codes, states

pytestmark = pytest.mark.engine

# Of toil.version. Toil asks a registry for images whose name does not have it.
COMMIT = "d569ea5711eb310ffd5703803f7250ebf7c19576"
SLOW = """
import time
from toil.common import Toil
from toil.job import Job

def slow(job):
    time.sleep(300)

if __name__ == "__main__":
    with Toil(Job.Runner.getDefaultArgumentParser().parse_args()) as toil:
        toil.start(Job.wrapJobFn(slow, cores=1, memory="100M", disk="10M"))
"""


@pytest.fixture(scope="module")
def toil(install: Install) -> tuple[Installed, str]:
    installed = install("toil")
    return installed, image(installed, COMMIT)


def start(toil: tuple[Installed, str], lab: Lab, directory: Path, script: Path, *arguments: str) -> Run:
    options = ("--batchSystem", "tes", "--tesEndpoint", lab.url, "--retryCount", "0", "--caching", "false")
    # Without chaining each job is a task of its own.
    command = (
        toil[0].command("python"),
        str(script),
        f"{directory}/jobstore",
        *arguments,
        *options,
        "--disableChaining",
        "True",
    )
    return lab.start(*command, cwd=directory, TOIL_APPLIANCE_SELF=toil[1])


def test_job_reads_the_file_of_the_job_before(toil: tuple[Installed, str], lab: Lab, directory: Path) -> None:
    before = lab.seen()

    run = start(toil, lab, directory, EXAMPLES / "toil/words.py", "ham and eggs")

    assert run.end() == 0, run.text()
    assert "3: HAM AND EGGS\n" in run.text()
    assert states(lab.tasks(before)) == ["COMPLETE", "COMPLETE"]


def test_failing_job_fails_the_workflow(toil: tuple[Installed, str], lab: Lab, directory: Path) -> None:
    before = lab.seen()

    run = start(toil, lab, directory, EXAMPLES / "toil/words.py", "")

    assert run.end() == 1
    tasks = lab.tasks(before)
    assert states(tasks) == ["COMPLETE", "EXECUTOR_ERROR"]
    assert exit_codes(tasks[1]) == [1]
    assert "ValueError: no words" in run.text()


def test_terminated_workflow_cancels_its_task(toil: tuple[Installed, str], lab: Lab, directory: Path) -> None:
    (directory / "slow.py").write_text(SLOW)

    run = start(toil, lab, directory, directory / "slow.py")
    task_id = lab.until_running(run, "kind-slow")
    run.process.terminate()

    assert run.end() != 0
    assert lab.gateway.wait(task_id, "CANCELED")["state"] == "CANCELED"
