"""How the double runs a command line on this machine, and ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tesgw_batch.fake_batch.execution import Command, Execution, remove_node

from tests.plugins.batch.fake_batch.commands import code, err, is_alive, make, out, pid_in, run, running, until


async def test_a_command_has_its_directory_its_environment_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "1")
    command = make(tmp_path, "sh -c 'pwd; env | sort; echo wrong >&2'", environment={"OWN": "a b"})

    ended = await run(command)

    assert (ended.exit_code, ended.failure) == (0, None)
    lines = out(command).splitlines()
    assert lines[0] == str(command.directory / "wd")
    assert {"OWN=a b", f"AZ_BATCH_NODE_ROOT_DIR={tmp_path}"} <= set(lines)
    assert "SECRET_OF_OURS=1" not in lines
    assert err(command) == "wrong\n"


async def test_a_command_line_is_given_to_no_shell(tmp_path: Path) -> None:
    command = make(tmp_path, "echo $HOME '&&' false;")
    await run(command)

    assert out(command) == "$HOME && false;\n"


async def test_an_exit_code_other_than_0_is_a_failure(tmp_path: Path) -> None:
    ended = await run(make(tmp_path, "sh -c 'exit 3'"))

    message = "The task exited with an exit code representing a failure"
    details = [{"name": "Message", "value": message}]
    assert ended.exit_code == 3
    assert ended.failure == {"category": "usererror", "code": "FailureExitCode", "message": message, "details": details}


async def test_a_signal_counts_as_in_a_shell(tmp_path: Path) -> None:
    assert (await run(make(tmp_path, "sh -c 'kill -TERM $$'"))).exit_code == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("command_line", "expected"),
    [
        ("no-such-program", "CommandProgramNotFound"),
        ("/etc/passwd", "CommandLaunchFailed"),
        ("sh 'open", "CommandLaunchFailed"),
    ],
)
async def test_what_cannot_be_started_has_no_exit_code(tmp_path: Path, command_line: str, expected: str) -> None:
    ended = await run(make(tmp_path, command_line))

    assert (ended.exit_code, code(ended)) == (None, expected)


async def test_kill_ends_the_tree_of_the_command_and_nothing_that_left_it(tmp_path: Path) -> None:
    # The one stays a descendant, though in a session of its own; the other is nobody's child when its parent has ended.
    scripts = {
        "task": "setsid sh pids.sh left & sleep 600 & echo $! > child; wait",
        "leaving": "(setsid sh pids.sh left &); sleep 600 & echo $! > child; wait",
    }
    command, leaving = [make(tmp_path, f"sh -c '{script}'", task=name) for name, script in scripts.items()]
    for each in (command, leaving):
        (each.directory / "wd").mkdir(parents=True)
        (each.directory / "wd" / "pids.sh").write_text("echo $$ > $1; exec sleep 600\n")
    async with running(command) as (execution, task), running(leaving) as (other, other_task):
        child, grandchild = [await pid_in(command.directory / "wd" / name) for name in ("child", "left")]
        own, left = [await pid_in(leaving.directory / "wd" / name) for name in ("child", "left")]

        await asyncio.gather(execution.kill(), other.kill())

        assert (await task).exit_code == (await other_task).exit_code == 137
        await until(lambda: not any(map(is_alive, (child, grandchild, own))))
        assert is_alive(left)
    await remove_node(tmp_path)
    assert not is_alive(left)


async def test_who_cancels_a_run_kills_it(tmp_path: Path) -> None:
    command = make(tmp_path, "sh -c 'echo $$ > pid; sleep 600; true'")
    task = asyncio.create_task(run(command))
    pid = await pid_in(command.directory / "wd" / "pid")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not is_alive(pid)


async def test_what_is_killed_before_it_runs_does_not_run(tmp_path: Path) -> None:
    command = make(tmp_path, "touch ran")
    execution = Execution(command, {})
    await execution.kill()
    at_once = Execution(command, {})
    task = asyncio.create_task(at_once.run())
    await asyncio.sleep(0)
    await at_once.kill()

    assert [(await execution.run()).exit_code, (await task).exit_code] == [137, 137]
    assert not (command.directory / "wd" / "ran").exists()


async def test_a_program_stands_in_for_an_image(tmp_path: Path) -> None:
    async def program(command: Command, argv: list[str]) -> int:
        seen.append((command.directory.name, argv))
        return 7

    seen: list[tuple[str, list[str]]] = []
    container = {"imageName": "registry/image:1", "containerRunOptions": "--rm --entrypoint tesgw-batch"}
    ended = await Execution(make(tmp_path, "run 'a b'", container=container), {"registry/image:1": program}).run()

    assert seen == [("task", ["run", "a b"])]
    assert (ended.exit_code, code(ended)) == (7, "FailureExitCode")


async def test_removing_a_node_ends_what_it_started_and_nothing_else(tmp_path: Path) -> None:
    root, other = tmp_path / "node", tmp_path / "node-2"
    elsewhere = "sh -c 'cd / && setsid sleep 600 & echo $! > pid; wait'"
    commands = [make(root, elsewhere), make(other, elsewhere)]
    stranger = await asyncio.create_subprocess_exec("sleep", "600", cwd=tmp_path)
    async with running(commands[0]), running(commands[1]):
        ours, theirs = [await pid_in(command.directory / "wd" / "pid") for command in commands]
        by_directory = await asyncio.create_subprocess_exec("sleep", "600", cwd=root, start_new_session=True, env={})

        await remove_node(root)

        assert (is_alive(ours), is_alive(by_directory.pid)) == (False, False)
        assert (is_alive(theirs), is_alive(stranger.pid)) == (True, True)
        assert (root.exists(), other.exists()) == (False, True)
        await remove_node(other)
    await remove_node(root)
    stranger.kill()
    await asyncio.gather(stranger.wait(), by_directory.wait())


async def test_who_looks_around_in_a_node_with_a_terminal_is_spared(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    terminal, name = os.openpty()
    looking = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"exec 0<>{os.ttyname(name)}; echo $$ > pid; exec sleep 600"),
        cwd=tmp_path / "node",
        start_new_session=True,  # so that the terminal it opens becomes its own
    )
    await pid_in(tmp_path / "node" / "pid")
    await remove_node(tmp_path / "node")

    assert is_alive(looking.pid)
    looking.kill()
    await looking.wait()
    os.close(terminal)
    os.close(name)
