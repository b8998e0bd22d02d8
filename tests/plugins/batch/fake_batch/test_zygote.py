"""Programs that run in forks of a process that has imported them look freshly started."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tesgw_batch.fake_batch.execution import Command, Execution, remove_node
from tesgw_batch.fake_batch.zygote import Zygote

from tests.plugins.batch.fake_batch.commands import err, is_alive, make, out, pid_in, until

PROGRAM = "tests.plugins.batch.fake_batch.program"
IMAGE = {"imageName": "image", "containerRunOptions": "--rm --entrypoint program"}
OWNER = """
import asyncio, pathlib, sys
from tesgw_batch.fake_batch.execution import Command
from tesgw_batch.fake_batch.zygote import Zygote

async def main(root):
    zygote = Zygote("tests.plugins.batch.fake_batch.program")
    await zygote.start()
    print(zygote._process.pid, flush=True)
    (root / "wd").mkdir()
    command = Command(command_line="", environment={}, directory=root, node_root=root, container=None)
    await zygote(command, ["wait"])

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


@pytest_asyncio.fixture
async def zygote() -> AsyncIterator[Zygote]:
    zygote = Zygote(PROGRAM)
    await zygote.start()
    yield zygote
    await zygote.stop()


def program(root: Path, command_line: str, task: str = "task") -> Command:
    return make(root, command_line, container=IMAGE, task=task, environment={"OWN": task, "TZ": "Asia/Tokyo"})


async def test_a_program_looks_freshly_started(zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "1")
    commands = [program(tmp_path, "show", name) for name in ("one", "two")]
    await asyncio.gather(*(Execution(command, {"image": zygote}).run() for command in commands))
    one, two = [json.loads(out(command)) for command in commands]

    assert one["argv"] == ["show"]
    assert one["directory"] == str(commands[0].directory / "wd")
    assert set(one["environment"]) == {"PATH", "AZ_BATCH_NODE_ROOT_DIR", "AZ_BATCH_TASK_ID", "OWN", "TZ"}
    assert (one["environment"]["OWN"], two["environment"]["OWN"]) == ("one", "two")
    assert "OWN=one\n" in one["of_shell"]
    assert "SECRET_OF_OURS" not in one["of_shell"]
    assert one["descriptors"] == {
        "0": "/dev/null",
        "1": str(commands[0].directory / "stdout.txt"),
        "2": str(commands[0].directory / "stderr.txt"),
    }
    assert one["signals"] == {"SIGCHLD": "0", "SIGTERM": "0", "SIGINT": str(signal.default_int_handler)}
    assert (one["is_leader"], one["is_fork"], one["threads"], one["wakeup"]) == (True, True, 1, -1)
    assert one["random"] != two["random"]


async def test_a_program_has_event_loops_children_and_signals_of_its_own(zygote: Zygote, tmp_path: Path) -> None:
    command = program(tmp_path, "loop")
    ended = await Execution(command, {"image": zygote}).run()

    assert (ended.exit_code, out(command), err(command)) == (0, "through\n", "")


@pytest.mark.parametrize(
    ("command_line", "code", "said"),
    [("end 3", 3, ""), ("leave 4", 4, ""), ("leave wrong", 1, "wrong\n"), ("fail", 1, "ValueError: wrong\n")],
)
async def test_every_end_has_its_exit_code(zygote: Zygote, tmp_path: Path, command_line: str, code: int, said: str) -> None:
    command = program(tmp_path, command_line)
    ended = await Execution(command, {"image": zygote}).run()

    assert ended.exit_code == code
    assert err(command).endswith(said)
    assert out(command) == ("printed" if command_line == "fail" else "")


async def test_many_run_side_by_side_and_none_is_mistaken_for_another(zygote: Zygote, tmp_path: Path) -> None:
    runs = [Execution(program(tmp_path, f"end {n}", f"task{n}"), {"image": zygote}).run() for n in range(100)]

    assert [ended.exit_code for ended in await asyncio.gather(*runs)] == list(range(100))


async def test_kill_ends_the_tree_of_one_program(zygote: Zygote, tmp_path: Path) -> None:
    command = program(tmp_path, "wait")
    execution = Execution(command, {"image": zygote})
    task = asyncio.create_task(execution.run())
    own = await pid_in(command.directory / "wd" / "own")
    child = await pid_in(command.directory / "wd" / "child")

    await execution.kill()

    assert (await task).exit_code == 137
    await until(lambda: not is_alive(own) and not is_alive(child))
    assert await zygote(command, ["end", "5"]) == 5


async def test_what_is_cancelled_before_it_has_a_process_ends_as_well(zygote: Zygote, tmp_path: Path) -> None:
    command = program(tmp_path, "wait")
    (command.directory / "wd").mkdir(parents=True)
    task = asyncio.create_task(zygote(command, ["wait"]))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            await task


async def test_removing_a_node_ends_its_programs_and_what_they_started(zygote: Zygote, tmp_path: Path) -> None:
    root, other = tmp_path / "node", tmp_path / "other"
    commands = [program(root, "wait"), program(other, "wait")]
    executions = [Execution(command, {"image": zygote}) for command in commands]
    tasks = [asyncio.create_task(execution.run()) for execution in executions]
    pids = [await pid_in(command.directory / "wd" / name) for command in commands for name in ("own", "child")]

    await remove_node(root)

    assert list(map(is_alive, pids)) == [False, False, True, True]
    await executions[1].kill()
    assert [(await task).exit_code for task in tasks] == [137, 137]


async def test_it_ends_with_its_owner_and_what_it_started_goes_on(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert owner.stdout
    zygote = int(await owner.stdout.readline())
    own = await pid_in(tmp_path / "wd" / "own")

    owner.kill()
    await owner.communicate()

    await until(lambda: not is_alive(zygote))
    assert is_alive(own)
    await remove_node(tmp_path)
    assert not is_alive(own)


async def test_what_was_waited_for_when_it_stopped_is_an_error(tmp_path: Path) -> None:
    zygote = Zygote(PROGRAM)
    await zygote.start()
    command = program(tmp_path, "wait")
    task = asyncio.create_task(Execution(command, {"image": zygote}).run())
    own = await pid_in(command.directory / "wd" / "own")

    await zygote.stop()

    with pytest.raises(ConnectionError):
        await task
    with pytest.raises(ConnectionError):
        await zygote(command, ["end", "0"])
    assert is_alive(own)
    await remove_node(tmp_path)


async def test_a_module_that_cannot_be_imported_is_told_at_start() -> None:
    with pytest.raises(RuntimeError, match="No module named 'no_such_module'"):
        await Zygote(PROGRAM, preloaded=["no_such_module"]).start()
