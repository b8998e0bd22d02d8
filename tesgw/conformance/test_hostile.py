"""Hostile tasks: whatever they name, link or start, the machine and the other tasks are out of their reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tesgw.conformance.case import SHARED_GLOBAL, Case
from tesgw.conformance.rules import rule
from tesgw.conformance.through_http import HttpWorld
from tesgw.states import State

SECRET = "of the machine, not of any task\n"
UP = "../" * 30


@rule()
async def test_links_in_outputs_never_deliver_the_machine_s_files(case: Case) -> None:
    secret = _secret(case)
    links = (
        secret,
        f"{UP}{secret}",
        f"/proc/1/root{secret}",
        f"/proc/self/root{secret}",
        f"/tes-wd/shared-global/{UP}{secret}",
    )

    makes = f"cd /out; for to in {' '.join(map(str, links))}; do ln -s $to link$((n += 1)); done; ln -s {secret.parent} dir"
    result = await case.run(
        case.sh(f"{makes}; echo x >plain"),
        outputs=[
            {"path": "/out", "url": case.url("all"), "type": "DIRECTORY"},
            {"path": "/out/*", "path_prefix": "/out", "url": case.url("found")},
            {"path": f"/out/dir/{secret.name}", "url": case.url("below")},
            *({"path": f"/out/link{n + 1}", "url": case.url(f"link{n}")} for n in range(len(links))),
        ],
    )

    assert case.delivered == {"all/plain": b"x\n", "found/plain": b"x\n"}
    assert result.state is State.SYSTEM_ERROR, "In the task, those outputs do not exist."


@rule()
async def test_links_never_lead_streams_or_inputs_to_the_machine_s_files(case: Case) -> None:
    """An executor exchanges files and directories that the next one is given."""
    secret = _secret(case)
    places = ("/data/work", "/data/dir", "/data/deep/dir", "/tes-wd/shared")
    trap = (
        f"ln -s {secret} /data/stdin; ln -s {secret} /data/stdout; rm -rf {' '.join(places)};"
        f"for place in {' '.join(places)}; do ln -s {secret.parent} $place; done"
    )
    executors = (
        case.sh(f"{trap}; touch {case.shared_path}/set"),
        case.sh("cat", stdin="/data/stdin"),
        case.sh("cat /data/stdin /data/dir/secret; echo x >/data/dir/made", stdout="/data/stdout"),
        case.sh("echo x", stdout="/data/dir/made", stderr="/tes-wd/shared/made"),
        case.sh("cat secret; echo x >made; echo x >secret", workdir="/data/work"),
    )

    result = await case.run(
        *(executor | {"ignore_error": True} for executor in executors),
        inputs=[{"path": "/data/file", "content": ""}],
        outputs=[{"path": f"/data/{name}", "url": case.url(name)} for name in ("stdout", "dir/made", "deep/dir/secret")],
    )

    assert result.exit_codes[0] == 0
    assert (case.shared / "set").exists(), "The trap is set."
    assert not any(SECRET in log.stdout + log.stderr for log in result.executors)
    assert SECRET.encode() not in case.delivered.values()
    assert _is_untouched(secret)


@rule()
async def test_links_that_a_task_leaves_in_the_shared_directory_lead_no_other_out_of_it(case: Case) -> None:
    secret, here = _secret(case), case.shared_path
    trap = f"ln -s {secret.parent} {here}/dir && ln -s {secret} {here}/file && mkdir {here}/in && ln -s {secret} {here}/in"
    assert (await case.run(case.sh(trap))).state is State.COMPLETE
    assert (case.shared / "dir").is_symlink(), "The trap is set."
    tasks: list[dict[str, Any]] = [
        {"inputs": [{"path": "/in/file", "url": f"{here}/file"}]},
        {"inputs": [{"path": "/in/file", "url": f"file://{here}/dir/{secret.name}"}]},
        {"inputs": [{"path": "/in/dir", "url": f"{here}/in", "type": "DIRECTORY"}]},
        {"inputs": [{"path": f"{here}/file", "url": f"{here}/file"}, {"path": f"{here}/dir/made", "content": "x"}]},
        {"outputs": [{"path": "/tmp/made", "url": f"{here}/dir/made"}, {"path": "/tmp/made", "url": f"file://{here}/file"}]},
        {"outputs": [{"path": f"{here}/file", "url": case.url("file")}, {"path": here, "url": case.url("all")}]},
    ]

    look = f"cat /in/file /in/dir/* {here}/file; echo x >/tmp/made"
    results = [await case.run(case.sh(look, stdout=f"{here}/dir/out"), case.sh(look), **task) for task in tasks]

    assert not any(SECRET in log.stdout for result in results for log in result.executors)
    assert SECRET.encode() not in case.delivered.values()
    assert _is_untouched(secret)


@rule()
async def test_what_is_exchanged_while_it_is_delivered_does_not_lead_out_either(case: Case) -> None:
    secret, here = _secret(case), case.shared_path
    case.shared.joinpath("flip").write_text("regular\n")
    swap = f"ln -s {secret} l; mv -f l flip; rm -rf d; ln -s {secret.parent} d"
    swap_back = f"echo regular >r; mv -f r flip; rm -f d; mkdir -p d; echo regular >d/{secret.name}"
    attacker = await case.submit(case.sh(f"cd {here}; until [ -e stop ]; do {swap}; {swap_back}; touch turning; done"))
    await case.appears("turning")

    paths = [f"{here}/flip", f"{here}/d/{secret.name}"] * 40
    result = await case.run(
        case.sh("true"), outputs=[{"path": path, "url": case.url(str(n))} for n, path in enumerate(paths)]
    )
    (case.shared / "stop").touch()
    await case.world.ended(attacker)

    assert result.state in (State.COMPLETE, State.SYSTEM_ERROR)
    assert set(case.delivered.values()) <= {b"regular\n", b""}
    assert _is_untouched(secret)


@rule()
async def test_urls_name_only_what_the_operator_allows(case: Case) -> None:
    secret = _secret(case)
    beside = _beside_shared(case)
    up = "/".join("%2e%2e" for _ in range(30))
    for path in (secret, beside, Path("/etc/passwd"), Path("/tes-wd/shared/file")):
        urls = [
            f"file://{path}",
            str(path),
            f"file://{case.shared_path}/{UP}{path}",
            f"file://{case.shared_path}/{up}{path}",
        ]
        for url in urls if path == secret else urls[:2]:
            result = await case.run(case.sh("cat /in/file"), inputs=[{"path": "/in/file", "url": url}])

            assert result.state is State.SYSTEM_ERROR, url
            assert result.executors == ()
            assert result.says(path.name), f"The sentence has to name {url}: {result.system_logs}"


@rule()
async def test_outputs_go_only_where_the_operator_allows(case: Case) -> None:
    secret = _secret(case)
    place, up = secret.parent / "made", "/".join("%2e%2e" for _ in range(30))
    urls = [
        f"file://{place}",
        str(place),
        f"file://{case.shared_path}/{UP}{place}",
        f"file://{case.shared_path}/{up}{place}",
    ]

    result = await case.run(
        case.sh("echo x >/out/x"),
        outputs=[{"path": "/out/x", "url": url} for url in [*urls, f"{SHARED_GLOBAL}-{case.key}/made", f"file://{secret}"]],
    )

    assert result.state is State.SYSTEM_ERROR
    assert result.says("/out/x")
    assert result.outputs == ()
    assert _is_untouched(secret)
    assert not _sibling(case).exists()


@rule(only="http")
async def test_paths_that_no_task_may_name_are_refused(case: Case) -> None:
    command = {"image": case.harness.image, "command": ["true"]}
    wrong: list[tuple[str, dict[str, Any]]] = [
        *(
            ("volumes.0", {"volumes": [path]})
            for path in ("/", "/etc", "/proc", "/usr/", "/bin", "/tes-wd/../etc", SHARED_GLOBAL)
        ),
        *(("inputs.0.path", {"inputs": [{"path": path, "content": ""}]}) for path in ("/", "/proc/x", "/dev/x", "/a/../x")),
        *(("outputs.0.path", {"outputs": [{"path": path, "url": "/x"}]}) for path in ("/sys/x", "/tes-wd/../../x", "..")),
        *(
            (f"executors.0.{stream}", {"executors": [command | {stream: "/a/../x"}]})
            for stream in ("stdin", "stdout", "stderr")
        ),
        ("executors.0.workdir", {"executors": [command | {"workdir": "/proc/self"}]}),
    ]
    world = case.world
    assert isinstance(world, HttpWorld)

    for field, part in wrong:
        async with world.client.post(f"{world.url}/tasks", json={"executors": [command], **part}) as answer:
            assert answer.status == 400, part
            assert list((await answer.json())["errors"]) == [field]


@rule()
async def test_the_machine_s_own_files_and_programs_are_out_of_sight(case: Case) -> None:
    """Nor is there another task's process, or the socket of whatever runs the tasks."""
    secret = _secret(case)
    other = await case.submit(
        case.sh(f": {case.key}-other; touch {case.shared_path}/on; until [ -e {case.shared_path}/go ]; do sleep 0.1; done")
    )
    await case.appears("on")

    result = await case.run(
        case.sh(
            f"cat {secret} /proc/1/root/{secret} /proc/*/root/{secret};"
            f"cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '{case.key}-o[t]her';"
            "ls /var/run/docker.sock /run/docker.sock /run/containerd; for p in 1 $PPID; do kill -9 $p; done; exit 0"
        )
    )
    (case.shared / "go").touch()

    assert result.executors[0].stdout == ""
    assert (await case.world.ended(other)).state is State.COMPLETE


@rule()
async def test_names_cannot_reach_out_of_where_an_output_goes(case: Case) -> None:
    """Names that hold an encoded slash or two dots are names of files like any other."""
    names = ["%2e%2e", "..%2f..%2fmade", "...", "%2e%2e%2fmade", "..;", "\\..\\made"]
    makes = case.sh('cd /out; for name; do echo x >"$name"; done')
    makes["command"] += ["-", *names]

    result = await case.run(
        makes,
        outputs=[
            {"path": "/out", "url": f"file://{case.shared_path}/to", "type": "DIRECTORY"},
            {"path": "/out/*", "path_prefix": "/out", "url": f"{case.shared_path}/found"},
            {"path": "/out", "url": case.url("http"), "type": "DIRECTORY"},
        ],
    )

    assert result.state is State.COMPLETE, result
    assert sorted(path.name for path in case.shared.joinpath("to").iterdir()) == sorted(names)
    assert sorted(path.name for path in case.shared.joinpath("found").iterdir()) == sorted(
        set(names) - {"..."} - {"..;", "..%2f..%2fmade"}
    )
    assert sorted(case.delivered) == sorted(f"http/{name}" for name in names)
    assert sorted(path.name for path in case.shared.iterdir()) == ["found", "to"]


@rule(alone=True, only="hooks")
async def test_a_task_cannot_start_processes_without_end(case: Case) -> None:
    """5000 is more than any task needs at once, and less than a machine bears. Costly, and the same through either way."""
    started = f"{case.shared_path}/started"
    result = await case.run(
        case.sh(f"mkfifo /tmp/p; while [ $((n += 1)) -le 5000 ]; do (read x </tmp/p) & echo $n >{started}; done; echo all"),
        case.sh("echo next"),
    )

    assert "all" not in result.executors[0].stdout, "It started 5000 processes."
    assert int((case.shared / "started").read_text()) > 50, "Programs need some."
    assert result.state is State.EXECUTOR_ERROR


def _secret(case: Case) -> Path:
    """A file of this machine that no task may see or change, alone in its directory."""
    directory = case.world.directory.resolve() / f"outside-{case.key}"
    directory.mkdir()
    directory.chmod(0o777)
    secret = directory / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o666)
    return secret


def _is_untouched(secret: Path) -> bool:
    return secret.read_text() == SECRET and [path.name for path in secret.parent.iterdir()] == [secret.name]


def _beside_shared(case: Case) -> Path:
    """The name, in the tasks' terms, of a file in a directory whose name begins as that of the shared one."""
    _sibling(case).mkdir()
    (_sibling(case) / "secret").write_text(SECRET)
    return Path(f"{SHARED_GLOBAL}-{case.key}/secret")


def _sibling(case: Case) -> Path:
    shared = case.shared.parent
    return shared.with_name(f"{shared.name}-{case.key}")
