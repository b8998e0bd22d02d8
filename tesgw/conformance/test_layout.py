"""The directories of a task: which there are, who may write there, and who sees what."""

from __future__ import annotations

from tesgw.capabilities import Capability
from tesgw.conformance.case import Case, Result
from tesgw.conformance.rules import rule
from tesgw.states import State

WRITABLE = ("/tes-wd", "/tes-wd/shared", "/tes-wd/shared-global", "/tmp", "/vol", "/in/put", "/out/put", "/work")


@rule()
async def test_a_task_may_write_wherever_it_names_a_directory(case: Case) -> None:
    result = await _write_everywhere(case, case.harness.image)

    assert result.state is State.COMPLETE, result
    assert case.delivered["result"] == b"changed\n"


@rule(needs=Capability.IMAGES)
async def test_the_user_of_the_image_may_write_there_too(case: Case) -> None:
    result = await _write_everywhere(case, await case.harness.other_image("user"))

    assert result.state is State.COMPLETE, result
    assert result.stdout == "1000\n", "The program runs as the image's user."
    assert case.delivered["result"] == b"changed\n"


@rule()
async def test_the_directory_that_cromwell_makes_its_own_in_is_there(case: Case) -> None:
    """Published configurations of Cromwell have this very command."""
    make = 'tmpDir=$(mktemp -d "/$AZ_BATCH_TASK_DIR"/tmp.XXXXXX) && echo kept >$tmpDir/file'

    result = await case.run(case.sh(make), case.sh('cat "/$AZ_BATCH_TASK_DIR"/tmp.*/file'))

    assert result.state is State.COMPLETE, result
    assert result.stdout == "kept\n", "The directory is the task's, not an executor's."


@rule()
async def test_tasks_do_not_see_each_other_s_directories(case: Case) -> None:
    own = "/tes-wd /tes-wd/shared /tmp /vol /work"
    busy = await case.submit(
        case.sh(
            f"for d in {own}; do echo x >$d/other; done; touch {case.shared_path}/ready; {_wait(case)}", workdir="/work"
        ),
        case.sh("cat /tes-wd/other /tes-wd/shared/other /tmp/other /vol/other", workdir="/work"),
        volumes=["/vol"],
    )
    await case.appears("ready")

    look = case.sh(f"for d in {own} /$AZ_BATCH_TASK_DIR; do ls -A $d; rm -rf $d/other; done", workdir="/work")
    seen = await case.run(look, volumes=["/vol"])
    (case.shared / "go").touch()
    other = await case.world.ended(busy)

    assert seen.state is State.COMPLETE, seen
    assert "other" not in seen.stdout
    assert set(seen.stdout.split()) == {"shared", "shared-global"}, "But for these, they are empty at first."
    assert other.stdout == "x\n" * 4, "Nor does one task change what another has there."


@rule()
async def test_the_executors_of_a_task_share_its_directories(case: Case) -> None:
    places = ("/tes-wd", "/tes-wd/shared", "/tmp", "/vol/one", "/vol", "/in", "/out/deep", "/work")
    write = "; ".join(f"echo {place} >{place}/file" for place in places)

    result = await case.run(
        case.sh(write, workdir="/work"),
        case.sh("cat " + " ".join(f"{place}/file" for place in places), workdir="/work"),
        inputs=[{"path": "/in/given", "content": "x"}],
        outputs=[{"path": "/out/deep/file", "url": case.url("file")}],
        volumes=["/vol", "/vol/one"],
    )

    assert result.state is State.COMPLETE, result
    assert result.stdout.split() == list(places)
    assert case.delivered == {"file": b"/out/deep\n"}


@rule()
async def test_volumes_are_empty_at_first(case: Case) -> None:
    volumes = ["/vol", "/mnt/deep/vol", "/tmp/vol"]

    result = await case.run(case.sh(f"ls -A {' '.join(volumes)} && echo end"), volumes=volumes)

    assert result.state is State.COMPLETE, result
    assert [line for line in result.stdout.split() if not line.startswith("/")] == ["end"]


@rule()
async def test_the_shared_directory_is_that_of_all_tasks_and_is_kept(case: Case) -> None:
    (case.shared / "given").write_text("of the operator\n")

    await case.run(case.sh(f"mkdir {case.shared_path}/dir; echo of a task >{case.shared_path}/dir/file"))
    second = await case.run(case.sh(f"cat {case.shared_path}/given {case.shared_path}/dir/file"))

    assert second.stdout == "of the operator\nof a task\n"
    assert (case.shared / "dir" / "file").read_text() == "of a task\n"


@rule()
async def test_files_may_lie_at_any_path_and_hide_nothing_of_the_image(case: Case) -> None:
    paths = ("/etc/given", "/bin/given", "/given", "/mnt/other/place/given", "/usr/given")

    result = await case.run(
        case.sh(f"cat {' '.join(paths)}; echo made >/etc/made; echo made >/made; ls /bin/sh"),
        inputs=[{"path": path, "content": path + "\n"} for path in paths],
        outputs=[{"path": path, "url": case.url(path[1:])} for path in ("/etc/made", "/made", "/bin/given")],
    )

    assert result.state is State.COMPLETE, result
    assert result.stdout.split() == [*paths, "/bin/sh"]
    assert case.delivered == {"etc/made": b"made\n", "made": b"made\n", "bin/given": b"/bin/given\n"}


@rule(needs=Capability.IMAGES)
async def test_what_the_image_ships_is_there_beside_what_the_task_puts_there(case: Case) -> None:
    image = await case.harness.other_image("filled")

    result = await case.run(
        case.sh("cat tool given; echo made >made", image=image, workdir="/opt/app"),
        inputs=[{"path": "/opt/app/given", "content": "given\n"}],
        outputs=[{"path": "/opt/app", "url": case.url("app"), "type": "DIRECTORY"}],
    )

    assert result.state is State.COMPLETE, result
    assert result.stdout == "tool\ngiven\n"
    assert case.delivered == {"app/tool": b"tool\n", "app/given": b"given\n", "app/made": b"made\n"}


@rule()
async def test_inputs_are_fetched_once_and_stay_as_executors_leave_them(case: Case) -> None:
    result = await case.run(
        case.sh("echo more >>/in/a; rm /in/b; mv /in/c /in/d"),
        case.sh("cat /in/a /in/d; ls /in"),
        inputs=[{"path": f"/in/{name}", "url": case.put(name, f"{name}\n".encode())} for name in "abc"],
    )

    assert result.state is State.COMPLETE, result
    assert result.stdout.split() == ["a", "more", "c", "a", "d"]
    assert [case.reads(name) for name in "abc"] == [1, 1, 1]


async def _write_everywhere(case: Case, image: str) -> Result:
    script = " && ".join(f"echo x >{place}/x-{case.key} && rm {place}/x-{case.key}" for place in WRITABLE)
    (case.shared / "read-only").touch(0o444)
    return await case.run(
        case.sh(f"{script} && echo changed | tee /in/put/closed >/in/put/file && id -u", image=image, workdir="/work"),
        inputs=[
            {"path": "/in/put/file", "url": case.put("file", b"given")},
            {"path": "/in/put/closed", "url": f"{case.shared_path}/read-only"},
        ],
        outputs=[
            {"path": "/in/put/file", "url": case.url("result")},
            {"path": "/out/put/*", "path_prefix": "/out", "url": case.url("rest")},
        ],
        volumes=["/vol"],
    )


def _wait(case: Case) -> str:
    return f"until [ -e {case.shared_path}/go ]; do sleep 0.1; done"
