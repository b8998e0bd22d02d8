"""What executors see at which path, and where outputs are found."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from tesgw.model import FileType, Input
from tesgw.states import State
from tests.runner.conftest import Lab, MakeImage, docker, make_job, sh, until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="session")
def filled(make_image: MakeImage) -> str:
    """An image with files in /opt/app, an empty /empty, and a user who is not root."""
    script = (
        "mkdir -p /opt/app/sub /empty && chmod -R 777 /opt && echo shipped > /opt/app/conf && echo deep > /opt/app/sub/deep"
    )
    return make_image(script, "USER 1234")


async def test_nothing_hides_what_the_image_ships_and_single_inputs_go_beside_it(lab: Lab, filled: str) -> None:
    seen = await lab.run(
        sh("cat /opt/app/conf /opt/app/mine; echo changed >> /opt/app/mine", image=filled, workdir="/opt/app"),
        inputs=(Input(path="/opt/app/mine", content="given\n"), Input(path="/etc/mine", content="")),
        outputs=(lab.output("/opt/app/mine", "mine"), lab.output("/bin/busybox", "busybox")),
    )

    assert seen.system_logs == ()
    assert seen.executors[0].stdout == "shipped\ngiven\n"
    assert lab.read("mine") == "given\nchanged\n"
    assert (lab.data / "busybox").stat().st_mode & 0o777 == 0o755


async def test_outputs_in_the_images_directories_come_from_the_last_executor_that_has_them(lab: Lab, filled: str) -> None:
    seen = await lab.run(
        sh("echo first > /opt/app/out; echo first > /opt/app/only.txt", image=filled),
        sh("echo second > /opt/app/out; ln -s conf /opt/app/link; ln -s /opt/app/sub /opt/app/linked", image=filled),
        outputs=(
            lab.output("/opt/app/out", "out"),
            lab.output("/opt/app/*.txt", "texts", path_prefix="/opt/app"),
            lab.output("/opt/app/link", "link"),
            lab.output("/opt/app", "app", type=FileType.DIRECTORY),
            lab.output("/opt/*/con?", "conf", path_prefix="/opt"),
        ),
    )

    assert seen.system_logs == ()
    assert lab.read("out") == "second\n"
    assert lab.read("texts/only.txt") == "first\n"
    assert lab.read("link") == lab.read("app/conf") == lab.read("conf/app/conf") == "shipped\n"
    assert lab.read("app/linked/deep") == lab.read("app/sub/deep") == "deep\n"


async def test_named_directories_are_empty_and_writable_for_any_user(lab: Lab, filled: str) -> None:
    script = "for d in /empty /new/a /new /tmp /tes-wd /tes-wd/shared /vol; do echo x > $d/x || exit 1; done; ls -A /vol"
    seen = await lab.run(
        sh(script, image=filled),
        volumes=("/vol",),
        outputs=(lab.output("/empty/x", "1"), lab.output("/new/x", "2"), lab.output("/new/a/x", "3")),
    )

    assert (seen.state, seen.executors[0].stdout) == (State.COMPLETE, "x\n")


async def test_an_output_directly_below_the_root_is_found(lab: Lab) -> None:
    seen = await lab.run(
        sh("echo x > /out.txt; mkdir /made; echo y > /made/y"),
        outputs=(
            lab.output("/out.txt", "out"),
            lab.output("/*.txt", "glob", path_prefix="/"),
            lab.output("/made/y", "y"),
        ),
    )

    assert seen.system_logs == ()
    assert [lab.read(name) for name in ("out", "glob/out.txt", "y")] == ["x\n", "x\n", "y\n"]


async def test_what_would_hide_the_images_files_is_refused(lab: Lab, filled: str) -> None:
    (lab.data / "in").mkdir()
    volume = await lab.run(sh("true", image=filled), volumes=("/opt/app",))
    directory = Input(path="/opt/app", url=f"file://{lab.data}/in", type=FileType.DIRECTORY)
    given = await lab.run(sh("true", image=filled), inputs=(directory,))

    assert [volume.state, given.state] == [State.SYSTEM_ERROR] * 2
    assert "volume /opt/app would hide" in volume.system_logs[0]
    assert "directory /opt/app would hide" in given.system_logs[0]


async def test_a_directory_input_is_mounted_where_the_image_has_nothing(lab: Lab, filled: str) -> None:
    (lab.data / "in").mkdir()
    (lab.data / "in" / "file").write_text("x\n")
    inputs = tuple(
        Input(path=path, url=f"file://{lab.data}/in", type=FileType.DIRECTORY) for path in ("/opt/new", "/empty", "/in")
    )
    seen = await lab.run(sh("cat /opt/new/file /empty/file /in/file /opt/app/conf", image=filled), inputs=inputs)

    assert seen.executors[0].stdout == "x\nx\nx\nshipped\n"


async def test_a_stream_in_the_images_directory_has_its_tail(lab: Lab, filled: str) -> None:
    seen = await lab.run(
        sh("echo out; yes | head -c 200000; echo end", image=filled, stdout="/opt/app/out", stderr="/opt/app/err"),
        outputs=(lab.output("/opt/app/out", "out"),),
    )

    assert len(seen.executors[0].stdout) == 65536
    assert seen.executors[0].stdout.endswith("y\nend\n")
    assert lab.read("out").startswith("out\ny\n")


async def test_links_are_followed_inside_the_container_only(lab: Lab) -> None:
    (lab.data / "secret").write_text("of the host\n")
    script = (
        "mkdir -p /data/dir; cd /data/dir; echo real > /data/real; ln -s /data/real abs; ln -s ../real rel;"
        f"ln -s /opt/x image; mkdir /opt; echo image > /opt/x; ln -s {lab.data}/secret host; ln -s /data/nothing dangling;"
        "ln -s dir/abs /data/chain; ln -s /opt/x /data/straight"
    )
    seen = await lab.run(
        sh(script),
        outputs=(
            lab.output("/data/dir", "dir", type=FileType.DIRECTORY),
            lab.output("/data/chain", "chain"),
            lab.output("/data/straight", "straight"),
        ),
    )

    assert seen.system_logs == ()
    assert sorted(path.name for path in (lab.data / "dir").iterdir()) == ["abs", "image", "rel"]
    assert lab.read("chain") == lab.read("dir/rel") == "real\n"
    assert lab.read("straight") == lab.read("dir/image") == "image\n"


async def test_a_link_in_place_of_a_mount_does_not_lead_the_next_executor_to_the_host(lab: Lab, filled: str) -> None:
    (lab.data / "secret").write_text("of the host\n")
    seen = await lab.run(
        sh(f"rm -rf /opt/new; ln -s {lab.data} /opt/new"),
        sh("cat /opt/new/secret", image=filled),
        outputs=(lab.output("/opt/x", "x"), lab.output("/opt/new/y", "y")),
    )

    assert seen.state is State.SYSTEM_ERROR
    assert "replaced /opt/new by a symbolic link" in seen.system_logs[0]
    assert len(seen.executors) == 1


async def test_a_stream_replaced_by_a_link_shows_nothing_of_the_host(lab: Lab) -> None:
    (lab.data / "secret").write_text("of the host\n")
    script = f"rm /data/out; ln -s {lab.data}/secret /data/out; ln -sf {lab.data}/secret /.tesgw/stderr; echo x; echo y >&2"
    seen = await lab.run(sh(script, stdout="/data/out"))

    assert "of the host" not in seen.executors[0].stdout + seen.executors[0].stderr


async def test_a_job_without_paths_of_its_own_gets_one_container_and_no_other(lab: Lab) -> None:
    ours = ("--filter", "event=create", "--filter", f"label=tesgw.instance={lab.world.engine.instance}")
    start = time.time()
    await lab.run(sh("true"), id="plain")
    await lab.run(sh("true"), id="named", volumes=("/vol",))

    names = docker("events", *ours, "--since", f"{start:.9f}", "--until", f"{time.time():.9f}").splitlines()

    assert len(names) == 3
    assert "name=tesgw-plain-0" in names[0]
    assert "tesgw.job=named" in names[1]
    assert "name=tesgw-named-0" in names[2]


async def test_two_tasks_do_not_see_each_other(lab: Lab) -> None:
    first = make_job(sh("echo x > /tes-wd/shared/x; ls -la /; sleep 30"))
    runner = lab.runner(first)
    running = asyncio.create_task(runner.run())
    await until(lambda: (lab.world.work_dir / "jobs" / first.id / "tree/tes-wd/shared/x").exists())
    seen = await lab.run(sh("ls -A /tes-wd /tes-wd/shared /tmp"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert seen.executors[0].stdout.split() == ["/tes-wd:", "shared", "shared-global", "/tes-wd/shared:", "/tmp:"]
    assert os.stat(lab.world.work_dir / "jobs").st_mode & 0o077 == 0


async def test_outputs_are_found_however_deep_they_lie(lab: Lab) -> None:
    seen = await lab.run(
        sh("cd /cromwell/wf/call/execution; echo rc > rc; mkdir -p glob/sub; echo deep > glob/sub/x; echo txt > a.txt"),
        outputs=(
            lab.output("/cromwell/wf/call/execution/rc", "rc"),
            lab.output("/cromwell/wf/call/execution/glob", "glob", type=FileType.DIRECTORY),
            lab.output("/cromwell/wf/call/execution/*.txt", "texts", path_prefix="/cromwell/wf/call/execution"),
            lab.output("/cromwell/wf/*/execution/r?", "wild", path_prefix="/cromwell"),
        ),
    )

    assert seen.state is State.COMPLETE, seen
    assert (lab.read("rc"), lab.read("glob/sub/x")) == ("rc\n", "deep\n")
    assert (lab.read("texts/a.txt"), lab.read("wild/wf/call/execution/rc")) == ("txt\n", "rc\n")


async def test_outputs_are_found_through_links_on_their_way(lab: Lab) -> None:
    seen = await lab.run(
        sh(
            "mkdir -p /opt/r /data/real && echo image > /opt/r/f && echo tree > /data/real/g"
            " && ln -s /opt/r /data/img && ln -s real /data/alias && ln -s /data/img/f /data/twice"
        ),
        outputs=(
            lab.output("/data/img/f", "f"),
            lab.output("/data/alias/g", "g"),
            lab.output("/data/twice", "twice"),
        ),
        directories=("/data",),
    )

    assert seen.state is State.COMPLETE, seen
    assert [lab.read(name) for name in ("f", "g", "twice")] == ["image\n", "tree\n", "image\n"]


@pytest.mark.parametrize(
    "link", ["/etc/passwd/x", "/data/odd", "/" + "n" * 300, "n" * 300, "../../../../../..", "/proc/self/root"]
)
async def test_one_odd_link_does_not_cost_the_other_outputs(lab: Lab, link: str) -> None:
    seen = await lab.run(
        sh(
            f"echo good > /data/good && mkdir /data/dir && echo also > /data/dir/also && ln -s {link} /data/dir/odd;"
            " mkdir /opt && ln -s loop /opt/loop; cp -a /data/dir /opt/dir"
        ),
        outputs=(
            lab.output("/data/good", "good"),
            lab.output("/data/dir", "dir", type=FileType.DIRECTORY),
            lab.output("/opt/dir", "opt", type=FileType.DIRECTORY),
        ),
        directories=("/data",),
    )

    assert seen.state is State.COMPLETE, seen
    assert [lab.read(name) for name in ("good", "dir/also", "opt/also")] == ["good\n", "also\n", "also\n"]


async def test_a_wildcard_leads_through_mounts_but_selects_none(lab: Lab) -> None:
    seen = await lab.run(
        sh("echo one > /data1/x; echo two > /data2/x"),
        outputs=(lab.output("/data*/x", "found", path_prefix="/"), lab.output("/tes-w*", "all", path_prefix="/")),
        directories=("/data1", "/data2"),
    )

    assert seen.state is State.COMPLETE, seen
    assert (lab.read("found/data1/x"), lab.read("found/data2/x")) == ("one\n", "two\n")
    assert not (lab.data / "all").exists()
