"""A runner that comes back: nothing is lost and nothing runs twice. And what is left when a job is over."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tesgw.model import Executor, Handle, Input, Job, Observation
from tesgw.runner import Engine, Runner, discard, sweep
from tesgw.runner.execute import container_name
from tesgw.runner.progress import Progress
from tesgw.runner.world import JobDir, Status
from tesgw.states import State
from tests.runner.conftest import Lab, docker, make_job, open_lab, sh, until

pytestmark = pytest.mark.engine

APPEND = "echo line >> /tes-wd/shared-global/lines"


def appending_job(lab: Lab) -> Job:
    return make_job(
        sh(f"{APPEND}; while [ ! -e /tes-wd/shared-global/go ]; do sleep 0.1; done; echo said; echo x >> /data/in"),
        sh(f"{APPEND}; cat /data/in"),
        inputs=(Input(path="/data/in", content="given\n"),),
        outputs=(lab.output("/data/in", "out"),),
    )


async def cancel_when(runner: Runner, is_so: Callable[[], object]) -> None:
    """What a kill does to a runner, at a certain moment."""
    running = asyncio.create_task(runner.run())
    while not is_so() and not running.done():  # noqa: ASYNC110 - at that very moment
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def is_made(job: Job, index: int) -> bool:
    return bool(docker("ps", "--all", "--quiet", "--filter", f"name=^{container_name(job.id, index)}$"))


async def finish(lab: Lab, job: Job) -> None:
    """A new runner of the job brings it to its right end."""
    (lab.shared / "go").touch()
    runner = lab.runner(job)
    await runner.run()
    seen = runner.observe()

    assert seen.state is State.COMPLETE
    assert [log.exit_code for log in seen.executors] == [0, 0]
    assert [log.stdout for log in seen.executors] == ["said\n", "given\nx\n"]
    assert (lab.shared / "lines").read_text() == "line\nline\n"
    assert lab.read("out") == "given\nx\n"


async def test_a_job_cancelled_before_its_inputs_are_there_is_run(lab: Lab) -> None:
    job = appending_job(lab)
    await cancel_when(runner := lab.runner(job), lambda: runner.observe().state is State.INITIALIZING)

    await finish(lab, job)


async def test_a_container_that_was_made_and_not_started_is_started(lab: Lab) -> None:
    job = appending_job(lab)
    status = lab.world.work_dir / "jobs" / job.id / "status.json"
    await cancel_when(lab.runner(job), lambda: status.exists() and b'"created":1' in status.read_bytes())

    await finish(lab, job)


async def test_a_container_whose_making_was_not_recorded_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    job = appending_job(lab)
    create = Engine.create

    async def create_and_die(engine: Engine, name: str | None, *arguments: Any) -> str:
        container_id = await create(engine, name, *arguments)
        if name is None:  # a helper, to look into the image with
            return container_id
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "create", create_and_die)
        await asyncio.gather(lab.runner(job).run(), return_exceptions=True)
    assert lab.runner(job).observe().state is State.INITIALIZING

    await finish(lab, job)


async def test_a_container_of_another_gateway_is_not_taken_for_ones_own(lab: Lab) -> None:
    job = make_job(sh(APPEND))
    container = docker("create", "--name", container_name(job.id, 0), "busybox", "true")

    runner = lab.runner(job)
    await runner.run()
    docker("rm", container)

    assert runner.observe().state is State.SYSTEM_ERROR
    assert "belongs to another gateway" in runner.observe().system_logs[0]


async def test_a_running_executor_is_taken_over(lab: Lab) -> None:
    job = appending_job(lab)
    await cancel_when(runner := lab.runner(job), lambda: runner.observe().state is State.RUNNING)
    started = runner.observe().start_time
    again = lab.runner(job)

    assert again.observe().start_time == started
    await finish(lab, job)


async def test_an_executor_that_ended_meanwhile_counts(lab: Lab) -> None:
    job = appending_job(lab)
    await cancel_when(runner := lab.runner(job), lambda: runner.observe().state is State.RUNNING)
    (lab.shared / "go").touch()
    docker("wait", container_name(job.id, 0))

    await finish(lab, job)


async def test_a_job_cancelled_between_executors_goes_on_with_the_next(lab: Lab) -> None:
    job = appending_job(lab)
    (lab.shared / "go").touch()
    runner = lab.runner(job)
    await cancel_when(runner, lambda: any(log.exit_code == 0 for log in runner.observe().executors))

    await finish(lab, job)


async def test_a_job_cancelled_at_its_outputs_delivers_them(lab: Lab) -> None:
    job = appending_job(lab)
    (lab.shared / "go").touch()
    runner = lab.runner(job)
    await cancel_when(runner, lambda: [log.exit_code for log in runner.observe().executors] == [0, 0])

    await finish(lab, job)


async def test_a_job_that_is_over_stays_as_it_ended_and_is_cleared(lab: Lab) -> None:
    job = appending_job(lab)
    (lab.shared / "go").touch()
    runner = lab.runner(job)
    await cancel_when(runner, lambda: runner.observe().end_time)
    again = lab.runner(job)

    assert again.observe() == runner.observe()
    await finish(lab, job)
    assert again.observe() == runner.observe()
    assert not is_made(job, 0)
    assert os.listdir(lab.world.work_dir / "jobs" / job.id) == ["status.json"]


async def test_a_new_gateway_takes_over_what_runs(tmp_path: Path) -> None:
    async with open_lab(tmp_path) as lab:
        instance = lab.world.engine.instance
        job = appending_job(lab)
        await cancel_when(runner := lab.runner(job), lambda: runner.observe().state is State.RUNNING)
    async with open_lab(tmp_path) as lab:
        await finish(lab, job)

    assert lab.world.engine.instance == instance


async def test_a_container_that_somebody_removed_is_not_run_again(lab: Lab) -> None:
    job = appending_job(lab)
    await cancel_when(runner := lab.runner(job), lambda: runner.observe().state is State.RUNNING)
    docker("rm", "--force", container_name(job.id, 0))
    again = lab.runner(job)
    await again.run()

    assert again.observe().state is State.SYSTEM_ERROR
    assert again.observe().system_logs == ("Somebody removed the container of executor 0. Submit the task again.",)


@pytest.mark.parametrize("how", [("stop", "--time", "5"), ("kill",), ("rm", "--force")])
async def test_an_executor_stopped_from_outside_is_no_executor_error(lab: Lab, how: tuple[str, ...]) -> None:
    job = make_job(sh("trap 'exit 0' TERM; touch /tes-wd/shared-global/up; sleep 60 & wait"))
    runner = lab.runner(job)
    running = asyncio.create_task(runner.run())
    await until(lambda: runner.observe().state is State.RUNNING and (lab.shared / "up").exists())
    await asyncio.to_thread(docker, *how, container_name(job.id, 0))
    await running

    assert runner.observe().state is State.SYSTEM_ERROR
    assert "was stopped from outside" in runner.observe().system_logs[0]


async def test_an_executor_stopped_while_no_runner_watched_is_no_executor_error(lab: Lab) -> None:
    job = make_job(sh("trap 'exit 3' TERM; touch /tes-wd/shared-global/up; sleep 30 & wait"))
    await cancel_when(lab.runner(job), (lab.shared / "up").exists)
    docker("stop", container_name(job.id, 0))
    again = lab.runner(job)
    await again.run()

    assert again.observe().state is State.SYSTEM_ERROR
    assert "was stopped from outside" in again.observe().system_logs[0]


async def test_discard_ends_a_running_job_gently_and_leaves_nothing(lab: Lab) -> None:
    script = (
        "trap 'echo bye > /tes-wd/shared-global/bye; exit' TERM; mkdir -m 700 /data/deep; umask 077; mkdir -p /data/deep/er;"
        "touch /data/deep/er/file; chmod 000 /data/deep/er; cp /bin/busybox /data/su; chmod 4755 /data/su; sleep 60 & wait"
    )
    job = make_job(sh(script, workdir="/data"))
    su = lab.world.work_dir / "jobs" / job.id / "tree/data/su"
    await cancel_when(lab.runner(job), lambda: su.exists() and su.stat().st_mode & stat.S_ISUID)
    await discard(lab.world, job.id)
    await discard(lab.world, job.id)

    assert (lab.shared / "bye").read_text() == "bye\n"
    assert not is_made(job, 0)
    assert not (lab.world.work_dir / "jobs" / job.id).exists()


@pytest.mark.parametrize("steps", range(0, 60, 6))
async def test_no_container_is_left_whenever_a_job_is_discarded(lab: Lab, steps: int) -> None:
    job = make_job(sh("sleep 60"))
    running = asyncio.create_task(lab.runner(job).run())
    for _ in range(steps):
        await asyncio.sleep(0)
    await asyncio.sleep(steps / 400)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await discard(lab.world, job.id)

    assert not is_made(job, 0)


@pytest.fixture
def home_of_another_user() -> Iterator[Path]:
    """A directory of the user who we are while the test runs: not root, but allowed to use the engine's socket."""
    home = Path(tempfile.mkdtemp())  # pytest's own directories are closed to others
    os.chown(home, 1234, 1234)
    os.setegid(Path("/var/run/docker.sock").stat().st_gid)
    os.seteuid(1234)
    yield home
    os.seteuid(0)
    os.setegid(0)
    shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else for a while")
async def test_a_gateway_that_is_not_root_reads_and_removes_what_root_left(home_of_another_user: Path) -> None:
    script = "umask 077; mkdir -p /data/d/e; echo x > /data/d/e/f; chmod 000 /data/d/e; chown -R 5:5 /data/d; sleep"
    async with open_lab(home_of_another_user) as lab:
        done = make_job(sh(f"{script} 0"), outputs=(lab.output("/data/d", "out"),))
        await (runner := lab.runner(done)).run()
        ended = make_job(sh(f"{script} 60", workdir="/data"))
        tree = lab.world.work_dir / "jobs" / ended.id / "tree"
        await cancel_when(lab.runner(ended), lambda: (tree / "data/d").exists() and (tree / "data/d").stat().st_uid == 5)
        for job in (done, ended):
            await discard(lab.world, job.id)
        left = await lab.world.engine.containers()

    assert runner.observe().state is State.COMPLETE
    assert lab.read("out/e/f") == "x\n"
    assert (os.listdir(home_of_another_user / "jobs"), left) == ([], [])


async def test_discarding_an_unknown_job_does_nothing(lab: Lab) -> None:
    await discard(lab.world, "never-was")

    assert not (lab.world.work_dir / "jobs" / "never-was").exists()


async def test_sweep_removes_the_containers_of_jobs_that_nobody_keeps(lab: Lab) -> None:
    kept, lost = (Executor(image="busybox", command=("sleep", "60")) for _ in range(2))
    jobs = [make_job(kept), make_job(lost)]
    for job in jobs:
        await cancel_when(runner := lab.runner(job), lambda: runner.observe().state is State.RUNNING)
    await sweep(lab.world, lambda job_id: job_id == jobs[0].id)

    assert [is_made(job, 0) for job in jobs] == [True, False]


def test_what_was_kept_just_before_an_executor_started_is_told_as_running(tmp_path: Path) -> None:
    directory = JobDir.of(tmp_path, "job-1")
    directory.make(1)
    for created, state in ((0, State.INITIALIZING), (1, State.RUNNING)):
        kept = Observation(handle=Handle("job-1"), state=State.INITIALIZING)
        directory.save(Status(created=created, observation=kept))

        assert Progress(directory, lambda: None).observation.state is state
