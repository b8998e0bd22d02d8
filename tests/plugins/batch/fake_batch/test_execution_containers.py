"""Container tasks on the real engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tesgw_batch.fake_batch.execution import Command, remove_node

from tests.plugins.batch.fake_batch.commands import code, err, make, out, run, running, until
from tests.runner.conftest import docker

pytestmark = pytest.mark.engine


def contained(root: Path, command_line: str, options: str = "", image: str = "busybox", **fields: Any) -> Command:
    return make(root, command_line, container={"imageName": image, "containerRunOptions": options}, **fields)


def seeing(root: Path) -> list[str]:
    """The running containers that have the directory mounted."""
    return docker("ps", "-q", "--filter", f"volume={root}").split()


async def test_a_container_task_sees_its_node_at_the_same_path(tmp_path: Path) -> None:
    share = tmp_path / "shares" / "files"
    root = tmp_path / "node"
    for directory in (share, root / "mounts"):
        directory.mkdir(parents=True)
    (share / "file").write_text("shared\n")
    (root / "mounts" / "azfiles").symlink_to(share)
    command = contained(
        root, "sh -c 'pwd; echo $OWN; cat ../../../../../mounts/azfiles/file; touch made'", environment={"OWN": "a b"}
    )

    ended = await run(command)

    assert (ended, err(command)) == (ended, "")
    assert ended.exit_code == 0
    assert out(command) == f"{command.directory / 'wd'}\na b\nshared\n"
    assert (command.directory / "wd" / "made").exists()
    assert not docker("ps", "-aq", "--filter", f"volume={root}")


async def test_the_run_options_are_the_clients(tmp_path: Path) -> None:
    command = contained(tmp_path, "'a b' c", "--rm --entrypoint echo --user 0 --network host")

    assert (await run(command)).exit_code == 0
    assert out(command) == "a b c\n"


async def test_failures_of_containers_are_told_apart(tmp_path: Path) -> None:
    ended = await asyncio.gather(
        run(contained(tmp_path, "sh -c 'exit 125'", task="a")),
        run(contained(tmp_path, "true", "--no-such-option", task="b")),
        run(contained(tmp_path, "true", image="127.0.0.1:1/none", task="c")),
    )

    assert [(each.exit_code, code(each)) for each in ended] == [
        (125, "FailureExitCode"),
        (None, "ContainerInvalidSettings"),
        (None, "ContainerInvalidImage"),
    ]


async def test_kill_ends_the_tasks_own_container_and_not_those_beside_it(tmp_path: Path) -> None:
    task = contained(tmp_path, "sleep 600")
    host = make(tmp_path, f"docker run --rm -v {tmp_path}:/node busybox sleep 600", task="host")
    async with running(task) as (execution, ended), running(host) as (other, other_ended):
        await until(lambda: len(seeing(tmp_path)) == 2)
        await asyncio.gather(execution.kill(), other.kill())

        assert [(await ended).exit_code, (await other_ended).exit_code] == [137, 137]
        [left] = seeing(tmp_path)
        assert docker("inspect", "--format", "{{.Name}}", left) != f"/{tmp_path.name}-workitems-job-job-1-task"
    await remove_node(tmp_path)

    assert not seeing(tmp_path)


async def test_removing_a_node_removes_its_containers_in_any_state_and_no_others(tmp_path: Path) -> None:
    root, other = tmp_path / "node", tmp_path / "node-2"
    for directory in (root / "below", other):
        directory.mkdir(parents=True)
    containers = [
        docker("create", "-v", f"{root}/below:/x", "busybox"),
        docker("run", "-d", "-v", f"{root}:/x", "busybox", "sleep", "600"),
        docker("create", "-v", f"{other}:/x", "busybox"),
    ]
    try:
        await asyncio.gather(remove_node(root), remove_node(root))

        left = docker("ps", "-aq", "--no-trunc").split()
        assert [each in left for each in containers] == [False, False, True]
        assert not root.exists()
    finally:
        docker("rm", "-f", containers[-1])


async def test_a_container_that_was_killed_before_it_was_there_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    for moment in range(4):
        async with running(contained(tmp_path / "node", "sleep 600", task=f"task{moment}")):
            await asyncio.sleep(0.05 * moment)

    assert not docker("ps", "-aq", "--filter", f"volume={tmp_path / 'node'}")
