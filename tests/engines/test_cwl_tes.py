"""cwl-tes, the reference implementation of CWL on TES, passes files by `file://` URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.conftest import Install
from tests.engines.running import EXAMPLES, Lab, Run, exit_codes, states

pytestmark = pytest.mark.engine

SLOW = """
cwlVersion: v1.0
class: CommandLineTool
hints: {DockerRequirement: {dockerPull: busybox}}
baseCommand: [sleep, "300"]
inputs: {}
outputs: {}
"""


@pytest.fixture
def home(lab: Lab, request: pytest.FixtureRequest) -> Path:
    made = lab.gateway.files / f"cwl {request.node.name}"  # the blank is encoded in URLs
    (made / "made").mkdir(parents=True)
    return made


def start(install: Install, lab: Lab, home: Path, *arguments: str) -> Run:
    """cwl-tes with all its files below `home`."""
    places = ("--outdir", f"{home}/out", "--tmpdir-prefix", f"{home}/made/t", "--tmp-outdir-prefix", f"{home}/made/o")
    cwl_tes = install("cwl-tes").command("cwl-tes")
    return lab.start(cwl_tes, "--relax-path-checks", "--tes", lab.url, *places, *arguments, cwd=home)


def test_workflow_passes_a_file_from_step_to_step(install: Install, lab: Lab, home: Path) -> None:
    (home / "a text.txt").write_text("one\ntwo\n")
    before = lab.seen()

    run = start(install, lab, home, str(EXAMPLES / "cwl-tes/words.cwl"), "--text", f"{home}/a text.txt")

    assert run.end() == 0, run.text()
    assert (home / "out/count.txt").read_text() == "2\n"
    assert (home / "out/sub/copy.txt").read_text() == "ONE\nTWO\n"
    assert [(task["name"], task["state"]) for task in lab.tasks(before)] == [
        ("shouting", "COMPLETE"),
        ("counting", "COMPLETE"),
    ]


def test_failing_step_fails_the_workflow(install: Install, lab: Lab, home: Path) -> None:
    (home / "empty.txt").touch()
    before = lab.seen()

    run = start(install, lab, home, str(EXAMPLES / "cwl-tes/words.cwl"), "--text", f"{home}/empty.txt")

    assert run.end() == 1
    assert "permanentFail" in run.text()
    tasks = lab.tasks(before)
    assert states(tasks) == ["COMPLETE", "EXECUTOR_ERROR"]
    assert exit_codes(tasks[1]) == [1]


def test_cancelled_task_ends_the_workflow(install: Install, lab: Lab, home: Path) -> None:
    (home / "slow.cwl").write_text(SLOW)

    run = start(install, lab, home, f"{home}/slow.cwl")
    task_id = lab.until_running(run, "slow.cwl")
    lab.gateway.cancel(task_id)

    assert run.end() == 1
    assert "FINAL JOB STATE: CANCELED" in run.text()
    assert lab.gateway.wait(task_id, "CANCELED")["state"] == "CANCELED"
