"""Two names of one directory: links of an image on the way to what a task names."""

from __future__ import annotations

import asyncio

import pytest

from tesgw.model import FileType, Input
from tesgw.runner import World
from tesgw.states import State
from tests.runner.conftest import Lab, MakeImage, make_job, sh, until

pytestmark = pytest.mark.engine

LINKS = {
    "/tmp": "var/tmp",
    "/linkdata": "/mnt/real",
    "/a": "/b",
    "/first": "second",
    "/second": "/mnt/../mnt/real",
    "/dangling": "/nowhere/x",
    "/towork": "/tes-wd/mine",
    "/totmp": "tmp/deep",
    "/lib": "usr/lib",
    "/alias": "/lib/shipped",
    "/a.in": "/tmp/a",
    "/round": "/about",
    "/about": "round",
    "/toproc": "/proc/1",
    "/toroot": "/",
}


@pytest.fixture(scope="session")
def linked(make_image: MakeImage) -> str:
    """An image in which directories have second names."""
    script = "rm -rf /tmp /var/tmp; mkdir -p /var/tmp /mnt/real /b /usr/lib; echo shipped > /usr/lib/shipped;"
    return make_image(script + ";".join(f"ln -s {target} {link}" for link, target in LINKS.items()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/tmp", "/var/tmp"),
        ("/linkdata", "/mnt/real"),
        ("/linkdata/deep", "/mnt/real/deep"),
        ("/a/x", "/b/x"),
        ("/first", "/linkdata"),
        ("/second/x", "/first/x"),
        ("/dangling", "/nowhere/x"),
        ("/towork", "/tes-wd/mine"),
        ("/totmp", "/tmp/deep"),
    ],
)
async def test_what_is_put_into_one_name_of_a_directory_is_seen_under_the_other(
    lab: Lab, linked: str, one: str, other: str
) -> None:
    seen = await lab.run(
        sh(
            f"cat {one}/in1 {other}/in2; echo made > {one}/made",
            image=linked,
            stdout=f"{one}/log",
        ),
        sh(f"cat {one}/in2 {one}/made >> {other}/again", image=linked),
        inputs=(Input(path=f"{one}/in1", content="1\n"), Input(path=f"{other}/in2", content="2\n")),
        outputs=(
            lab.output(f"{one}/log", "log"),
            lab.output(f"{other}/made", "made"),
            lab.output(f"{one}/in?", "inputs", path_prefix=one),
        ),
    )

    assert (seen.state, seen.system_logs) == (State.COMPLETE, ())
    assert lab.read("log") == seen.executors[0].stdout == "1\n2\n"
    assert lab.read("made") == "made\n"
    assert [file.path for file in seen.outputs][:2] == [f"{one}/log", f"{other}/made"]
    assert lab.read("inputs/in1") == "1\n"


async def test_single_inputs_go_beside_the_images_files_under_either_name(lab: Lab, linked: str) -> None:
    seen = await lab.run(
        sh("cat /lib/shipped /usr/lib/in1 /lib/in2; echo made > /lib/made", image=linked),
        inputs=(Input(path="/lib/in1", content="1\n"), Input(path="/usr/lib/in2", content="2\n")),
        outputs=(
            lab.output("/lib/in1", "in1"),
            lab.output("/lib/ma*", "glob", path_prefix="/lib"),
            lab.output("/usr/lib/made", "made"),
        ),
    )

    assert (seen.state, seen.system_logs) == (State.COMPLETE, ())
    assert seen.executors[0].stdout == "shipped\n1\n2\n"
    assert [lab.read(name) for name in ("in1", "glob/made", "made")] == ["1\n", "made\n", "made\n"]


async def test_images_that_lack_the_link_see_the_same_files_under_both_names(lab: Lab, linked: str) -> None:
    seen = await lab.run(
        sh("cat /linkdata/in1 /mnt/real/in2; echo first > /linkdata/made", image=linked),
        sh("cat /mnt/real/in1 /linkdata/in2 /mnt/real/made; echo second > /linkdata/made"),
        inputs=(Input(path="/linkdata/in1", content="1\n"), Input(path="/mnt/real/in2", content="2\n")),
        outputs=(lab.output("/mnt/real/made", "made"),),
    )

    assert (seen.state, seen.system_logs) == (State.COMPLETE, ())
    assert [log.stdout for log in seen.executors] == ["1\n2\n", "1\n2\nfirst\n"]
    assert lab.read("made") == "second\n"


async def test_a_directory_output_behind_a_link_is_whole(lab: Lab, linked: str) -> None:
    seen = await lab.run(
        sh("mkdir /linkdata/sub; echo x > /mnt/real/sub/x; ln -s /linkdata/sub/x /usr/lib/made", image=linked),
        outputs=(
            lab.output("/linkdata", "dir", type=FileType.DIRECTORY),
            lab.output("/lib", "lib", type=FileType.DIRECTORY),
        ),
    )

    assert (seen.state, seen.system_logs) == (State.COMPLETE, ())
    assert lab.read("dir/sub/x") == lab.read("lib/made") == "x\n"
    assert lab.read("lib/shipped") == "shipped\n"


async def test_a_link_into_the_shared_volume_is_that_volume(lab: Lab, make_image: MakeImage) -> None:
    (lab.shared / "mine").mkdir(mode=0o777)
    image = make_image("ln -s /tes-wd/shared-global/mine /mine")
    seen = await lab.run(
        sh("cat /mine/in; echo out > /mine/out", image=image), inputs=(Input(path="/mine/in", content="in\n"),)
    )

    assert (seen.state, seen.executors[0].stdout) == (State.COMPLETE, "in\n")
    assert (lab.shared / "mine" / "out").read_text() == "out\n"


async def test_an_extra_mount_at_a_link_is_seen_under_both_names(lab: Lab, linked: str) -> None:
    (lab.data / "in").write_text("extra\n")
    world = lab.world
    lab.world = World(world.engine, world.transfers, world.work_dir, {**world.volumes, "/linkdata": lab.data}, world.network)
    seen = await lab.run(
        sh("cat /linkdata/in /mnt/real/in /mnt/real/given", image=linked),
        inputs=(Input(path="/mnt/real/given", content="given\n"),),
    )

    assert seen.executors[0].stdout == "extra\nextra\ngiven\n"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/round/x", "/round"),
        ("/toproc/x", "/toproc to /proc/1"),
        ("/toroot/x", "/toroot to /"),
    ],
)
async def test_a_link_that_leads_nowhere_useful_is_refused_with_a_sentence(
    lab: Lab, linked: str, path: str, says: str
) -> None:
    seen = await lab.run(sh("true", image=linked), inputs=(Input(path=path, content=""),))

    assert (seen.state, seen.executors) == (State.SYSTEM_ERROR, ())
    assert says in seen.system_logs[0]
    assert "another path" in seen.system_logs[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [("/tmp/a", "/var/tmp/a"), ("/usr/lib/shipped", "/alias"), ("/lib/shipped", "/alias"), ("/a.in", "/tmp/a")],
)
async def test_two_inputs_that_are_one_file_are_refused(lab: Lab, linked: str, one: str, other: str) -> None:
    inputs = (Input(path=one, content="1"), Input(path=other, content="2"))
    seen = await lab.run(sh("true", image=linked), inputs=inputs)

    assert (seen.state, seen.executors) == (State.SYSTEM_ERROR, ())
    assert f"{one} and {other} are one" in seen.system_logs[0]


@pytest.mark.parametrize("other_link", ["ln -s /mnt/other /linkdata", "mkdir -p /mnt; ln -s /linkdata /mnt/real"])
async def test_images_with_links_that_cannot_all_hold_are_refused(
    lab: Lab, linked: str, make_image: MakeImage, other_link: str
) -> None:
    seen = await lab.run(
        sh("true", image=linked),
        sh("true", image=make_image(other_link)),
        inputs=(Input(path="/linkdata/in1", content="1"), Input(path="/mnt/real/in2", content="2")),
    )

    assert seen.state is State.SYSTEM_ERROR
    assert "/linkdata" in seen.system_logs[0]
    assert "links" in seen.system_logs[0]


async def test_a_file_where_the_image_has_a_link_to_a_directory_is_refused(lab: Lab, linked: str) -> None:
    inputs = (Input(path="/linkdata", content="1"), Input(path="/linkdata/x", content="2"))
    seen = await lab.run(sh("true", image=linked), inputs=inputs)

    assert (seen.state, seen.executors) == (State.SYSTEM_ERROR, ())
    assert "The input /linkdata is a file, but a directory in the task's image" in seen.system_logs[0]


async def test_two_mounts_of_the_gateway_that_are_one_in_the_image_are_refused(lab: Lab, linked: str) -> None:
    world = lab.world
    volumes = {**world.volumes, "/linkdata": lab.data, "/mnt/real": lab.shared}
    lab.world = World(world.engine, world.transfers, world.work_dir, volumes, world.network)
    seen = await lab.run(sh("true", image=linked))

    assert seen.state is State.SYSTEM_ERROR
    assert "gateway's directories /linkdata and /mnt/real are one place" in seen.system_logs[0]


async def test_what_the_runner_learnt_of_links_survives_it(lab: Lab, linked: str) -> None:
    job = make_job(
        sh("touch /linkdata/up; while [ ! -e /mnt/real/go ]; do sleep 0.1; done", image=linked),
        sh("cat /linkdata/in"),
        inputs=(Input(path="/mnt/real/in", content="in\n"),),
        outputs=(lab.output("/linkdata/up", "up"),),
    )
    there = lab.world.work_dir / "jobs" / job.id / "tree/mnt/real"
    running = asyncio.create_task(lab.runner(job).run())
    await until((there / "up").exists)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    (there / "go").touch()
    runner = lab.runner(job)
    await runner.run()

    assert runner.observe().state is State.COMPLETE
    assert runner.observe().executors[1].stdout == "in\n"


async def test_a_link_behind_another_images_link_is_not_made_on_the_host(lab: Lab, make_image: MakeImage) -> None:
    outer, inner = make_image(f"ln -s {lab.data} /data"), make_image("mkdir /data; ln -s /c /data/x")
    inputs = (Input(path="/data/x/in", content="1"),)
    seen = await lab.run(sh("true", image=outer), sh("true", image=inner), inputs=inputs)

    assert list(lab.data.iterdir()) == []
    assert seen.state is State.SYSTEM_ERROR
    assert "different links on the way to /data/x" in seen.system_logs[0]
