"""Snakemake's plugin for TES sends scripts that run Snakemake again, in the container; files go through its own storage."""

from __future__ import annotations

import signal

import pytest

from tests.engines import installing
from tests.engines.conftest import Install, missing
from tests.engines.running import EXAMPLES, Lab, Run, exit_codes

pytestmark = pytest.mark.engine

SLOW = """
rule slow:
    output: "slow.txt"
    shell: "sleep 300; touch {output}"
"""


@pytest.fixture(scope="module")
def runs(install: Install, lab: Lab) -> dict[str, Run]:
    """All workflows at once, for Snakemake looks at none of its tasks in the first 40 seconds."""
    snakemake = install("snakemake")
    try:
        rsync = installing.rsync()
    except installing.NotInstallable as problem:
        missing(str(problem))
    # Each task installs the storage plugin: from here, and without what it needs, which the image has.
    wheels = lab.mounted / "wheels"
    plugin = next(line for line in requirements() if line.startswith("snakemake-storage-plugin-fs"))
    installing.run(snakemake.command("pip"), "download", "--quiet", "--no-deps", "--dest", str(wheels), plugin)
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_FIND_LINKS": str(wheels)}
    image = installing.image(snakemake, tools=("/bin/bash", rsync), **pip)
    example = (EXAMPLES / "snakemake/Snakefile").read_text()

    def started(name: str, snakefile: str, text: str = "") -> Run:
        home, storage = lab.gateway.home / name, lab.mounted / name
        home.mkdir()
        storage.mkdir()
        (home / "Snakefile").write_text(snakefile)
        (home / "funnel.log").touch()
        (storage / "text.txt").write_text(text)
        tes = ("--executor", "tes", "--tes-url", lab.url, "--container-image", image, "--seconds-between-status-checks", "1")
        where = ("--default-storage-provider", "fs", "--default-storage-prefix", str(storage), "--jobs", "2")
        command = (snakemake.command("snakemake"), *tes, *where, "--jobname", f"{name}.{{jobid}}.{{rulename}}")
        return lab.start(*command, cwd=home, PATH=snakemake.path, GITHUB_WORKSPACE=str(home))

    return {
        "chain": started("chain", example, "one\ntwo\n"),
        "broken": started("broken", example),
        "slow": started("slow", SLOW),
    }


def requirements() -> list[str]:
    return (installing.REQUIREMENTS / "snakemake.txt").read_text().splitlines()


def tasks_of(lab: Lab, name: str) -> list[tuple[str, str, list[int]]]:
    named = [task for task in lab.tasks() if task.get("name", "").startswith(f"{name}.")]
    return [(task["name"].rpartition(".")[2], task["state"], exit_codes(task)) for task in named]


def test_interrupted_workflow_cancels_its_task(runs: dict[str, Run], lab: Lab) -> None:
    task_id = lab.until_running(runs["slow"], "slow.")
    runs["slow"].process.send_signal(signal.SIGINT)

    assert runs["slow"].end() != 0
    assert lab.gateway.wait(task_id, "CANCELED")["state"] == "CANCELED"


def test_workflow_passes_a_file_from_job_to_job(runs: dict[str, Run], lab: Lab) -> None:
    assert runs["chain"].end() == 0, runs["chain"].text()

    assert (lab.mounted / "chain/count.txt").read_text() == "2\n"
    assert tasks_of(lab, "chain") == [("upper", "COMPLETE", [0]), ("count", "COMPLETE", [0])]


def test_failing_job_fails_the_workflow(runs: dict[str, Run], lab: Lab) -> None:
    assert runs["broken"].end() == 1, runs["broken"].text()

    assert not (lab.mounted / "broken/count.txt").exists()
    assert tasks_of(lab, "broken") == [("upper", "COMPLETE", [0]), ("count", "EXECUTOR_ERROR", [1])]
