"""The process backend through its facade, as the gateway drives it, on this machine's own kernel."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tesgw_process import ProcessBackend
from tesgw_process.machine import SETTINGS as PROCESS_SETTINGS

from tesgw import BackendRefused, Executor, Handle, Input, Observation, Output, Resources, State, Task
from tesgw.backends import Backend, Context
from tesgw.settings import SETTINGS, of_values
from tesgw.staging import plan
from tesgw.states import TERMINAL

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(not BUSYBOX, reason="needs a static busybox as the image")

Open = Callable[..., Awaitable[Backend]]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image, `busybox`: a root file system with nothing in it but /bin, and links where hostile ones would lead out."""
    directory = tmp_path_factory.mktemp("images")
    programs = directory / "busybox" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(str(BUSYBOX), programs / "busybox")
    for name in subprocess.run([str(BUSYBOX), "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            os.link(programs / "busybox", programs / name)
    (directory / "busybox" / "hostile").symlink_to(directory)
    return directory


@pytest.fixture
async def open_backend(tmp_path: Path, images: Path) -> AsyncIterator[Open]:
    """Opens the backend on the test's one work directory."""
    async with AsyncExitStack() as stack:

        async def open_backend(**settings: Any) -> Backend:
            given = {
                "LOCAL_WORK_DIR": tmp_path / "work",
                "PROCESS_IMAGES_DIR": images,
                "PROCESS_FILE_ROOTS": [tmp_path / "data"],
            }
            values = of_values((*SETTINGS, *PROCESS_SETTINGS), {**given, **settings})
            backend = Backend("process", ProcessBackend(), Context("process", values, lambda handle: None))
            stack.push_async_callback(backend.close)
            return backend

        (tmp_path / "data").mkdir()
        yield open_backend


def sh(script: str, **fields: Any) -> Executor:
    return Executor(image="busybox", command=("sh", "-c", script), **fields)


def task(*executors: Executor, **fields: Any) -> Task:
    return Task(id=uuid4().hex[:26], executors=executors, **fields)


async def submit(backend: Backend, given: Task) -> Handle:
    return await backend.submit(plan(given, await backend.filesystem_layout(given)))


async def observe(backend: Backend, handle: Handle) -> Observation:
    [observation] = await backend.poll([handle])
    return observation


async def end(backend: Backend, handle: Handle, *states: State) -> Observation:
    """The job once it is in one of these states, or has ended."""
    async with asyncio.timeout(30):
        while (seen := await observe(backend, handle)).state not in {*states, *TERMINAL, State.UNKNOWN}:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
    return seen


async def run(backend: Backend, *executors: Executor, **fields: Any) -> Observation:
    return await end(backend, await submit(backend, task(*executors, **fields)))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def processes(word: str) -> list[int]:
    """The processes of this machine that have this word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # gone
            continue
    return found


async def test_two_executors_share_files_that_come_in_and_go_out(open_backend: Open, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "in").write_text("from outside\n")

    seen = await run(
        await open_backend(),
        sh("cat /in/file /loose; echo one >> /loose; mkdir /tes-wd/shared/d; cp /in/file /tes-wd/shared/d; >/private"),
        sh("tr a-z A-Z; cat /loose; ls / >&2", stdin="/tes-wd/shared/d/file", stdout="/out/x.txt", stderr="/root.txt"),
        inputs=(Input(path="/in/file", url=f"file://{data}/in"), Input(path="/loose", content="zero\n")),
        outputs=(
            Output(path="/out/*.txt", path_prefix="/out", url=f"file://{data}/out"),
            Output(path="/root.txt", url=f"file://{data}/root"),
            Output(path="/tes-wd/shared/d", url=f"file://{data}/d"),
        ),
    )

    assert (seen.state, seen.system_logs) == (State.COMPLETE, ())
    assert seen.executors[0].stdout == "from outside\nzero\n"
    assert seen.executors[1].stdout == (data / "out/x.txt").read_text() == "FROM OUTSIDE\nzero\none\n"
    assert "private" not in (data / "root").read_text().split()
    assert (data / "d/file").read_text() == "from outside\n"
    assert sorted(file.path for file in seen.outputs) == ["/out/x.txt", "/root.txt", "/tes-wd/shared/d/file"]


async def test_the_image_stays_as_it_is(open_backend: Open, images: Path) -> None:
    seen = await run(
        await open_backend(),
        sh("echo new > /bin/new; rm /bin/ls; ! test -e /bin/ls"),
        sh("test -e /bin/ls -a ! -e /bin/new || exit 1; cat /etc/hosts"),
    )

    assert [log.exit_code for log in seen.executors] == [0, 0]
    assert seen.executors[1].stdout == await asyncio.to_thread(Path("/etc/hosts").read_text)
    assert (images / "busybox/bin/ls").exists()
    assert not (images / "busybox/bin/new").exists()


async def test_argv_and_environment_are_verbatim(open_backend: Open) -> None:
    awkward = ("a b", "it's", '"', "$HOME", "`id`", "\n", "ü€🙂", "-e", "--", "", "*", "\\")
    printf = Executor(image="busybox", command=("printf", "%s|", *awkward))

    seen = await run(await open_backend(), printf, Executor(image="busybox", command=("env",), env={"A": "x y=z"}))

    assert seen.executors[0].stdout.split("|")[:-1] == list(awkward)
    assert sorted(seen.executors[1].stdout.splitlines()) == [
        "A=x y=z",
        "AZ_BATCH_TASK_DIR=/tes-wd",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


@pytest.mark.parametrize(
    ("command", "code"),
    [(("sh", "-c", "exit 3"), 3), (("sh", "-c", "kill -9 $$"), 137), (("no-such",), 127), (("/bin",), 126)],
)
async def test_exit_codes_are_those_of_a_shell(open_backend: Open, command: tuple[str, ...], code: int) -> None:
    seen = await run(await open_backend(), Executor(image="busybox", command=command), sh("true"))

    assert seen.state is State.EXECUTOR_ERROR
    assert [log.exit_code for log in seen.executors] == [code]


async def test_cancel_leaves_neither_process_nor_file(open_backend: Open, tmp_path: Path) -> None:
    backend, word = await open_backend(), uuid4().hex
    handle = await submit(backend, task(sh(f"(trap '' TERM; setsid sleep 1000; : {word}) & sleep 1000; : {word}")))
    await until(lambda: len(processes(word)) == 2)

    await backend.cancel(handle)
    await backend.cancel(handle)

    assert (await end(backend, handle)).state is State.UNKNOWN
    assert processes(word) == []
    assert list((tmp_path / "work/process/jobs").iterdir()) == []


async def test_a_job_outlives_the_gateway_and_is_started_once(open_backend: Open, tmp_path: Path) -> None:
    first = await open_backend()
    given = task(sh("echo ran >> /tes-wd/shared-global/ran; sleep 2; echo done"))
    await asyncio.gather(*(submit(first, given) for _ in range(3)))
    await end(first, Handle(given.job_id), State.RUNNING)
    await first.close()

    second = await open_backend()
    handle = await submit(second, given)

    seen = await end(second, handle)
    assert (seen.state, seen.executors[0].stdout) == (State.COMPLETE, "done\n")
    assert (tmp_path / "work/process/shared-global/ran").read_text() == "ran\n"
    assert await observe(second, handle) == seen
    await second.cancel(handle)
    assert (await observe(second, handle)).state is State.UNKNOWN


async def test_a_supervisor_that_is_killed_takes_its_executor_along_and_the_job_says_so(open_backend: Open) -> None:
    backend, word = await open_backend(), uuid4().hex
    handle = await submit(backend, task(sh(f"sleep 1000; : {word}")))
    await until(lambda: bool(processes(word)))

    os.kill(supervisor_of(processes(word)[0]), signal.SIGKILL)

    seen = await end(backend, handle)
    assert seen.state is State.SYSTEM_ERROR
    assert "supervised" in seen.system_logs[0]
    await until(lambda: processes(word) == [])


async def test_a_job_is_begun_again_if_its_supervisor_was_never_born(open_backend: Open) -> None:
    backend = await open_backend()
    await run(backend, sh("true"))
    [nursery] = [pid for pid in processes("nursery.main()") if parent_of(pid) == os.getpid()]

    os.kill(nursery, signal.SIGKILL)
    seen = await run(backend, sh("echo hello"))

    assert (seen.state, seen.executors[0].stdout) == (State.COMPLETE, "hello\n")


async def test_hostile_links_and_names_lead_nowhere(open_backend: Open, tmp_path: Path, images: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (images / "secret").write_text("secret")
    backend = await open_backend()

    linked = await run(
        backend,
        sh(f"ln -s {tmp_path}/secret /tes-wd/shared/link; ln -s ../../../../../../{tmp_path}/secret /tes-wd/shared/up"),
        outputs=tuple(Output(path=f"/tes-wd/shared/{name}", url=f"file://{tmp_path}/data/x") for name in ("link", "up")),
    )
    through_image = await run(backend, sh("ls /hostile/"), inputs=(Input(path="/hostile/new/file", content="x"),))
    escaping = [await run(backend, Executor(image=name, command=("true",))) for name in ("..", "../images/busybox", "/")]

    assert (linked.state, linked.outputs) == (State.SYSTEM_ERROR, ())
    assert through_image.executors[0].stdout == "new\n"
    assert sorted(os.listdir(images)) == ["busybox", "secret"]
    assert [seen.state for seen in escaping] == [State.SYSTEM_ERROR] * 3
    assert list((tmp_path / "data").iterdir()) == []


async def test_what_a_task_sees_of_the_machine_and_may_do_to_it(open_backend: Open) -> None:
    attempts = (
        "mount -t tmpfs t /tmp",
        "mknod /tmp/n b 8 0",
        "chroot /tmp",
        "ls /proc/1/root/",
        "true > /proc/sys/vm/swappiness",
    )

    seen = await run(
        await open_backend(PROCESS_NETWORK="none"),
        sh(f"{' || '.join(attempts)} || echo refused"),
        sh("echo /proc/[0-9]* /sys/*; ip -o link | cut -d: -f2; umask"),
        sh("wget http://127.0.0.1 2>&1 | grep -o refused"),
    )

    assert [log.stdout for log in seen.executors] == ["refused\n", "/proc/1 /proc/2 /sys/*\n lo\n0022\n", "refused\n"]


async def test_provision_makes_an_image_once(open_backend: Open, images: Path, tmp_path: Path) -> None:
    archive, steps = tmp_path / "image.tar", list[str]()
    with tarfile.open(archive, "w") as tar:
        tar.add(images / "busybox", ".")
    backend = await open_backend(PROCESS_IMAGES_DIR="")

    for _ in range(2):
        await backend.provision({"images": {"lab/busybox:1": str(archive)}}, steps.append)
    with pytest.raises(BackendRefused, match="no such"):
        await backend.provision({"images": {"other": "/no such"}}, steps.append)

    seen = await run(backend, Executor(image="lab/busybox:1", command=("echo", "hello")))
    assert (seen.executors[0].stdout, steps[0]) == ("hello\n", "unpacking lab/busybox:1")
    assert os.listdir(tmp_path / "work/process/images") == ["lab%2Fbusybox%3A1"]


async def test_memory_is_limited_and_too_much_is_refused(open_backend: Open) -> None:
    backend = await open_backend()

    seen = await run(backend, sh("tail /dev/zero"), resources=Resources(ram_gb=0.02))

    assert seen.state is State.EXECUTOR_ERROR
    assert "memory" in seen.system_logs[0]
    with pytest.raises(BackendRefused, match="CPU cores"):
        await submit(backend, task(sh("true"), resources=Resources(cpu_cores=10_000)))


async def test_who_finds_no_room_waits_with_a_reason(open_backend: Open) -> None:
    backend, cores = await open_backend(), len(os.sched_getaffinity(0))
    first = await submit(backend, task(sh("sleep 1000"), resources=Resources(cpu_cores=cores)))
    second = await submit(backend, task(sh("true"), resources=Resources(cpu_cores=1)))

    waiting = await observe(backend, second)
    await backend.cancel(first)

    assert (waiting.state, "first served" in waiting.reason.lower()) == (State.QUEUED, True)
    assert (await end(backend, second)).state is State.COMPLETE


def supervisor_of(pid: int) -> int:
    """The shell is a child of the first process of its room, that of the one that watches it, that of the supervisor."""
    return parent_of(parent_of(parent_of(pid)))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("PPid:")[1].split()[0])
