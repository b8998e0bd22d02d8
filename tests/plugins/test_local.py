"""The local backend through its hooks, on a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from tesgw_local import LocalBackend
from tesgw_local.settings import SETTINGS as LOCAL_SETTINGS

from tesgw import BackendRefused, BackendUnavailable, Executor, Handle, Observation, Resources, State, Task
from tesgw.backends import Backend, Context
from tesgw.settings import SETTINGS, of_values
from tesgw.staging import plan
from tesgw.states import TERMINAL
from tests.runner.conftest import docker

pytestmark = pytest.mark.engine

Open = Callable[..., Awaitable[Backend]]


@pytest.fixture
async def open_backend(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the backend on the test's one work directory; what was opened before has to be closed first."""
    async with AsyncExitStack() as stack:

        async def open_backend(**settings: Any) -> Backend:
            values = of_values((*SETTINGS, *LOCAL_SETTINGS), {"LOCAL_WORK_DIR": tmp_path, **settings})
            backend = Backend("local", LocalBackend(), Context("local", values, lambda handle: None))
            stack.push_async_callback(backend.close)
            return backend

        yield open_backend
    instance = (tmp_path / "instance").read_text() if (tmp_path / "instance").exists() else "none"
    if left := docker("ps", "--all", "--quiet", "--filter", f"label=tesgw.instance={instance}").split():
        docker("rm", "--force", "--volumes", *left)


def task(script: str, **resources: Any) -> Task:
    executor = Executor(image="busybox", command=("sh", "-c", script))
    return Task(id=uuid4().hex[:26], executors=(executor,), resources=Resources(**resources))


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


async def test_a_job_submitted_again_is_the_same_job(open_backend: Open, tmp_path: Path) -> None:
    backend = await open_backend()
    given = task("echo ran >> /tes-wd/shared-global/ran")

    handles = [await submit(backend, given) for _ in range(3)]
    handles += await asyncio.gather(*(submit(backend, given) for _ in range(3)))

    assert set(handles) == {Handle(given.job_id)}
    assert (await end(backend, handles[0])).state is State.COMPLETE
    assert (tmp_path / "shared-global/ran").read_text() == "ran\n"


async def test_an_end_is_told_until_it_is_cancelled_and_then_forgotten(open_backend: Open, tmp_path: Path) -> None:
    backend = await open_backend()
    handle = await submit(backend, task("exit 3"))
    ended = await end(backend, handle)

    assert await observe(backend, handle) == ended
    await backend.cancel(handle)
    await backend.cancel(handle)

    assert (await observe(backend, handle)).state is State.UNKNOWN
    assert list((tmp_path / "jobs").iterdir()) == []


async def test_what_nobody_submitted_is_unknown_and_may_be_cancelled(open_backend: Open) -> None:
    backend = await open_backend()
    stranger = Handle("no-such-job-1")

    await backend.cancel(stranger)

    assert (await observe(backend, stranger)).state is State.UNKNOWN


async def test_a_job_that_waits_is_cancelled_without_having_run(open_backend: Open, tmp_path: Path) -> None:
    backend = await open_backend(LOCAL_MAX_TASKS=1)
    first = await submit(backend, task("sleep 60"))
    second = await submit(backend, task("echo ran >> /tes-wd/shared-global/ran"))
    assert "at most 1 tasks run at once" in (await observe(backend, second)).reason

    await backend.cancel(second)
    assert (await end(backend, second)).state is State.CANCELED
    await backend.cancel(first)
    assert (await end(backend, first)).state is State.CANCELED

    assert not (tmp_path / "shared-global/ran").exists()


async def test_a_backend_made_anew_takes_up_what_runs_and_what_waits(open_backend: Open, tmp_path: Path) -> None:
    backend = await open_backend(LOCAL_MAX_TASKS=1)
    running = await submit(backend, task("echo first >> /tes-wd/shared-global/ran; sleep 2"))
    waiting = await submit(backend, task("echo second >> /tes-wd/shared-global/ran"))
    await end(backend, running, State.RUNNING)

    await backend.close()
    backend = await open_backend(LOCAL_MAX_TASKS=1)

    assert (await end(backend, running)).state is State.COMPLETE
    assert (await end(backend, waiting)).state is State.COMPLETE
    assert (tmp_path / "shared-global/ran").read_text() == "first\nsecond\n"


async def test_a_job_document_that_a_power_cut_spoilt_is_written_again(open_backend: Open, tmp_path: Path) -> None:
    given = task("true")
    document = tmp_path / "jobs" / given.job_id / "job.json"
    document.parent.mkdir(parents=True)
    document.write_bytes(b"")
    backend = await open_backend()
    assert (await observe(backend, Handle(given.job_id))).state is State.UNKNOWN

    handle = await submit(backend, given)

    assert (await end(backend, handle)).state is State.COMPLETE
    assert msgspec.json.decode(document.read_bytes())["id"] == given.job_id


async def test_a_shared_directory_that_exists_stays_as_its_owner_has_it(open_backend: Open, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o750)
    backend = await open_backend(LOCAL_SHARED_GLOBAL_DIR=str(theirs))

    handle = await submit(backend, task("echo seen > /tes-wd/shared-global/x"))

    assert (await end(backend, handle)).state is State.COMPLETE
    assert (theirs / "x").read_text() == "seen\n"
    assert theirs.stat().st_mode & 0o7777 == 0o750


async def test_what_can_never_fit_is_refused(open_backend: Open) -> None:
    backend = await open_backend(LOCAL_CPU_CORES=1.0)

    with pytest.raises(BackendRefused, match="asks for 2 CPU cores"):
        await submit(backend, task("true", cpu_cores=2))


async def test_provision_has_images_there_or_says_why_not(open_backend: Open) -> None:
    backend = await open_backend()
    steps: list[str] = []

    with pytest.raises(BackendUnavailable, match="no-such-image-anywhere"):
        await backend.provision({"images": ["no-such-image-anywhere:1"]}, steps.append)

    assert steps == ["looking for no-such-image-anywhere:1", "pulling no-such-image-anywhere:1"]


async def test_without_an_engine_a_job_is_kept_out_with_a_sentence(
    open_backend: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    backend = await open_backend()

    with pytest.raises(BackendUnavailable, match="Docker engine"):
        await submit(backend, task("true"))
