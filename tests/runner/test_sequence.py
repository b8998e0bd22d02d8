"""How a job runs: order, streams, limits, verdicts."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesgw.model import FileType, Input, MissingOutputs, Resources
from tesgw.runner import World
from tesgw.states import State
from tests.runner.conftest import Lab, MakeImage, make_job, sh, until

pytestmark = pytest.mark.engine


async def test_executors_run_in_order_and_share_the_directories_of_the_task(lab: Lab) -> None:
    seen = await lab.run(
        sh("echo one >> /data/log; echo private > /tes-wd/shared/x"),
        sh("echo two >> /data/log; cat /tes-wd/shared/x >> /data/log"),
        outputs=(lab.output("/data/log", "log"),),
    )

    assert seen.state is State.COMPLETE
    assert [log.exit_code for log in seen.executors] == [0, 0]
    assert lab.read("log") == "one\ntwo\nprivate\n"
    assert [(file.path, file.size_bytes) for file in seen.outputs] == [("/data/log", 16)]


async def test_argv_environment_and_workdir_reach_the_command_and_the_entrypoint_does_not(
    lab: Lab, make_image: MakeImage
) -> None:
    image = make_image("true", 'ENTRYPOINT ["/bin/false"]', "ENV FROM_IMAGE=yes")
    command = (
        "sh",
        "-c",
        'pwd; echo "$FROM_IMAGE $MINE"; for a; do echo "<$a>"; done',
        "-",
        "-x",
        "a b",
        "$HOME",
        "",
        "ü\n'",
    )
    seen = await lab.run(sh("", image=image, command=command, env={"MINE": "a=b c"}, workdir="/work/here"))

    assert seen.executors[0].stdout == "/work/here\nyes a=b c\n<-x>\n<a b>\n<$HOME>\n<>\n<ü\n'>\n"


async def test_streams_are_files_of_the_task_byte_for_byte_and_tails_in_the_log(lab: Lab) -> None:
    data = bytes(range(256)) * 1000
    (lab.data / "in").write_bytes(data)
    seen = await lab.run(
        sh("cat; echo oops >&2", stdin="/in/data", stdout="/out/data", stderr="/out/err"),
        inputs=(Input(path="/in/data", url=f"file://{lab.data}/in"),),
        outputs=(lab.output("/out/data", "out"), lab.output("/out/err", "err")),
    )

    assert (lab.data / "out").read_bytes() == data
    assert lab.read("err") == seen.executors[0].stderr == "oops\n"
    assert seen.executors[0].stdout == data[-65536:].decode("utf-8", "replace")


async def test_a_failed_executor_ends_the_task_with_its_exit_code_and_its_outputs(lab: Lab) -> None:
    seen = await lab.run(
        sh("exit 5", ignore_error=True),
        sh("echo half > /data/out; exit 3"),
        sh("echo never >> /data/out"),
        outputs=(lab.output("/data/out", "out"), lab.output("/data/missing", "missing")),
    )

    assert seen.state is State.EXECUTOR_ERROR
    assert [log.exit_code for log in seen.executors] == [5, 3]
    assert lab.read("out") == "half\n"
    assert "/data/missing" in seen.system_logs[0]


async def test_a_command_that_does_not_exist_is_the_executors_error(lab: Lab) -> None:
    seen = await lab.run(sh("", command=("/no/such/program",)))

    assert (seen.state, seen.executors[0].exit_code) == (State.EXECUTOR_ERROR, 127)
    assert "/no/such/program" in seen.executors[0].stderr


async def test_memory_is_limited_and_running_out_of_it_is_said(lab: Lab) -> None:
    seen = await lab.run(sh("tail /dev/zero"), resources=Resources(ram_gb=0.02))

    assert (seen.state, seen.executors[0].exit_code) == (State.EXECUTOR_ERROR, 137)
    assert seen.system_logs == (
        "Executor 0, or a program it started, was killed because it used more memory than ram_gb=0.02.",
    )


@pytest.mark.parametrize(("code", "state"), [(0, State.COMPLETE), (3, State.EXECUTOR_ERROR)])
async def test_memory_that_ran_out_in_a_child_is_said_and_the_parents_exit_code_counts(
    lab: Lab, code: int, state: State
) -> None:
    seen = await lab.run(sh(f"tail /dev/zero; exit {code}"), resources=Resources(ram_gb=0.02))

    assert (seen.state, seen.executors[0].exit_code) == (state, code)
    assert seen.system_logs == (
        "Executor 0, or a program it started, was killed because it used more memory than ram_gb=0.02.",
    )


async def test_executors_are_confined(lab: Lab) -> None:
    script = (
        "grep NoNewPrivs /proc/self/status; cat /proc/1/comm; cd /sys/fs/cgroup;"
        "cat pids/pids.max pids.max cpu/cpu.cfs_quota_us cpu.max 2>/dev/null; ls /var/run/docker.sock"
    )
    seen = await lab.run(sh(script), resources=Resources(cpu_cores=1))

    assert seen.executors[0].stdout.split()[:4] == ["NoNewPrivs:", "1", "docker-init", "4096"]
    assert "100000" in seen.executors[0].stdout
    assert "No such file" in seen.executors[0].stderr


async def test_a_missing_image_is_a_system_error_that_names_it(lab: Lab) -> None:
    seen = await lab.run(sh("true", image="tesgw-test/nowhere:1"))

    assert seen.state is State.SYSTEM_ERROR
    assert seen.system_logs[0].startswith("The image tesgw-test/nowhere:1 is missing here and cannot be pulled.")
    assert seen.executors == ()


async def test_inputs_are_writable_copies_that_stay_modified(lab: Lab, make_image: MakeImage) -> None:
    (lab.data / "in").write_text("original\n")
    (lab.data / "in").chmod(0o400)
    image = make_image("true", "USER 1234")
    seen = await lab.run(
        sh("echo more >> /in/a; echo x > /in/new; cat /in/b", image=image),
        sh("cat /in/a"),
        inputs=(Input(path="/in/a", url=f"file://{lab.data}/in"), Input(path="/in/b", content="given")),
    )

    assert [log.stdout for log in seen.executors] == ["given", "original\nmore\n"]
    assert lab.read("in") == "original\n"


async def test_a_missing_input_is_a_system_error_before_anything_runs(lab: Lab) -> None:
    seen = await lab.run(sh("true"), inputs=(Input(path="/in/a", url=f"file://{lab.data}/nothing"),))

    assert (seen.state, seen.executors) == (State.SYSTEM_ERROR, ())
    assert "nothing does not exist" in seen.system_logs[0]


@pytest.mark.parametrize(
    ("policy", "state"), [(MissingOutputs.ERROR, State.SYSTEM_ERROR), (MissingOutputs.WARN, State.COMPLETE)]
)
async def test_a_missing_output_counts_as_the_task_says_and_the_others_are_delivered(
    lab: Lab, policy: MissingOutputs, state: State
) -> None:
    seen = await lab.run(
        sh("mkfifo /data/fifo; echo x > /data/there"),
        outputs=tuple(lab.output(f"/data/{name}", name) for name in ("missing", "fifo", "there")),
        missing_outputs=policy,
    )

    assert seen.state is state
    assert [log.split()[2] for log in seen.system_logs] == ["/data/missing", "/data/fifo"]
    assert [file.path for file in seen.outputs] == ["/data/there"]


async def test_a_pattern_that_matches_nothing_only_warns(lab: Lab) -> None:
    output = lab.output("/data/*.none", "none", path_prefix="/data")
    seen = await lab.run(sh("true"), outputs=(output,))

    assert (seen.state, seen.system_logs) == (State.COMPLETE, ("The output /data/*.none matches nothing.",))


async def test_patterns_and_directories_are_delivered(lab: Lab) -> None:
    seen = await lab.run(
        sh("mkdir -p /data/s/t; echo 1 > /data/s/a.txt; echo 2 > /data/s/t/b.txt; echo 3 > /data/s/.h.txt"),
        outputs=(
            lab.output("/data/*/*.txt", "glob", path_prefix="/data"),
            lab.output("/data/s", "whole", type=FileType.DIRECTORY),
        ),
    )

    assert seen.state is State.COMPLETE
    assert lab.read("glob/s/a.txt") == lab.read("whole/a.txt") == "1\n"
    assert lab.read("whole/t/b.txt") == "2\n"
    assert sorted(path.name for path in (lab.data / "glob/s").iterdir()) == ["a.txt"]


async def test_more_disk_than_there_is_is_refused(lab: Lab) -> None:
    seen = await lab.run(sh("true"), resources=Resources(disk_gb=1e9))

    assert seen.state is State.SYSTEM_ERROR
    assert "disk_gb=1e+09" in seen.system_logs[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", directory), check=True)
    yield directory
    subprocess.run(("umount", directory), check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a small disk")
async def test_a_full_disk_is_a_system_error_that_says_so(lab: Lab, small_disk: Path) -> None:
    lab.world = dataclasses.replace(lab.world, work_dir=small_disk)
    (lab.data / "large").write_bytes(b"x" * 5_000_000)
    given = await lab.run(sh("true"), inputs=(Input(path="/data/in", url=f"file://{lab.data}/large"),))
    written = await lab.run(sh("yes > /data/out; exit 1"), outputs=(lab.output("/data/out", "out"),))

    assert (given.state, written.state) == (State.SYSTEM_ERROR, State.SYSTEM_ERROR)
    assert "disk is full" in given.system_logs[0]
    assert "disk of the gateway's work directory is full" in written.system_logs[0]
    assert [os.listdir(job) for job in os.scandir(small_disk / "jobs")] == [["status.json"]] * 2


async def test_files_in_the_shared_volume_are_used_in_place(lab: Lab) -> None:
    (lab.shared / "in").write_text("here\n")
    inside = "/tes-wd/shared-global/in"
    seen = await lab.run(
        sh("echo more >> /tes-wd/shared-global/in"),
        inputs=(Input(path=inside, url=inside, in_place=True),),
        outputs=(lab.output(inside, "unused", in_place=True),),
    )

    assert (lab.shared / "in").read_text() == "here\nmore\n"
    assert [file.size_bytes for file in seen.outputs] == [10]
    assert not (lab.data / "unused").exists()


async def test_a_volume_that_the_machine_lacks_is_left_out_with_a_word(lab: Lab) -> None:
    world = lab.world
    volumes = {**world.volumes, "/mnt/gone": lab.data / "gone"}
    lab.world = World(world.engine, world.transfers, world.work_dir, volumes, world.network)
    seen = await lab.run(sh("ls /mnt/gone"))

    assert seen.state is State.EXECUTOR_ERROR
    assert seen.system_logs == ("/mnt/gone is not mounted: the machine of this gateway has no such directory.",)


async def test_tails_are_visible_while_the_executor_runs_and_what_it_prints_takes_no_disk(lab: Lab) -> None:
    job = make_job(sh("yes 0123456789 | head -c 300000000; echo; echo ready; sleep 60"))
    runner = lab.runner(job)
    running = asyncio.create_task(runner.run())
    await until(lambda: "ready" in "".join(log.stdout for log in runner.observe().executors))
    stream = lab.world.work_dir / "jobs" / job.id / "io" / "0.stdout"
    await until(lambda: stream.stat().st_blocks * 512 < 2 * 2**20)
    log = runner.observe().executors[0]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert runner.observe().state is State.RUNNING
    assert log.exit_code is None
    assert log.start_time is not None
    assert len(log.stdout) == 4096
    assert stream.stat().st_size > 300_000_000


async def test_the_end_is_told_when_it_can_be_observed(lab: Lab) -> None:
    states: list[State] = []
    job = make_job(sh("echo x | sha256sum"))
    runner = type(lab.runner(job))(job, lab.world, lambda: states.append(runner.observe().state))
    await runner.run()

    assert list(dict.fromkeys(states)) == [State.INITIALIZING, State.RUNNING, State.COMPLETE]
    assert runner.observe().executors[0].stdout == hashlib.sha256(b"x\n").hexdigest() + "  -\n"
    assert runner.observe().end_time is not None
