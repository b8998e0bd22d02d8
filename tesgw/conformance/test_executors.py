"""Executors: one after the other, each exactly as the task says."""

from __future__ import annotations

import hashlib

from tesgw.capabilities import Capability
from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.states import State

ALL_BYTES = bytes(range(256))


@rule()
async def test_executors_run_in_order_and_one_at_a_time(case: Case) -> None:
    log = f"{case.shared_path}/log"
    steps = [case.sh(f"echo begin {n} >>{log}; sleep 0.3; echo end {n} >>{log}") for n in range(3)]

    result = await case.run(*steps)

    assert result.state is State.COMPLETE
    assert (case.shared / "log").read_text() == "".join(f"begin {n}\nend {n}\n" for n in range(3))


@rule()
async def test_the_exit_code_of_a_failed_executor_ends_the_task(case: Case) -> None:
    result = await case.run(case.sh("true"), case.sh("exit 3"), case.sh("echo never"))

    assert result.state is State.EXECUTOR_ERROR
    assert result.exit_codes == [0, 3]


@rule()
async def test_an_ignored_error_is_kept_and_passed_over(case: Case) -> None:
    result = await case.run(case.sh("exit 7", ignore_error=True), case.sh("echo on"))

    assert result.state is State.COMPLETE
    assert result.exit_codes == [7, 0]
    assert result.stdout == "on\n"


@rule()
async def test_exit_codes_are_those_of_a_shell(case: Case) -> None:
    """Also for a death by signal: 128 and its number."""
    ends = {"exit 1": 1, "exit 255": 255, "kill -KILL $$": 137, "kill -TERM $$": 143}

    result = await case.run(*(case.sh(end, ignore_error=True) for end in ends))

    assert result.exit_codes == list(ends.values())
    assert result.state is State.COMPLETE


@rule()
async def test_a_program_that_does_not_exist_is_an_error_that_names_it(case: Case) -> None:
    result = await case.run(case.argv("/no/such/program"), case.sh("echo never"))

    said = "".join([*result.system_logs, *(log.stderr for log in result.executors)])
    assert result.state in (State.EXECUTOR_ERROR, State.SYSTEM_ERROR)
    assert result.state is State.SYSTEM_ERROR or result.exit_codes == [127]
    assert "/no/such/program" in said
    assert "never" not in [log.stdout.strip() for log in result.executors]


@rule()
async def test_the_command_reaches_the_program_word_for_word(case: Case) -> None:
    words = ["-x", "--", "a b", "it's", '"', "$HOME", "`id`", "$(id)", "*", "", "a\nb", "\t", "ü日😀", "\\n", "%s", "a;b|c&"]
    each = 'for word; do printf "<%s>" "$word"; done'

    result = await case.run(
        case.argv("echo", "$HOME;", "a  b"), case.sh(each) | {"command": ["sh", "-c", each, "-", *words]}
    )

    assert result.executors[0].stdout == "$HOME; a  b\n"
    assert result.stdout == "".join(f"<{word}>" for word in words)


@rule()
async def test_a_long_command_is_not_cut(case: Case) -> None:
    words = ["x" * 100_000, *(f"word {n}" for n in range(2_000))]

    result = await case.run(case.argv("sh", "-c", 'echo $# ${#1}; shift 2000; echo "$1"', "-", *words))

    assert result.stdout == "2001 100000\nword 1999\n"


@rule()
async def test_the_environment_is_as_given(case: Case) -> None:
    """Nothing in it is expanded, joined or left over from another executor."""
    given = {
        "PLAIN": "a=b c",
        "DOLLAR": "$HOME ${PATH} `id`",
        "QUOTES": "'\"",
        "EMPTY": "",
        "LINES": "a\nb",
        "dotted.é": "ü",
    }
    show = ("cat", "/proc/self/environ")

    await case.run(
        case.argv(*show, env=given, stdout=f"{case.shared_path}/first"),
        case.argv(*show, env={"PLAIN": "other"}, stdout=f"{case.shared_path}/second"),
    )

    first, second = (_environment((case.shared / name).read_bytes()) for name in ("first", "second"))
    assert {name: first.get(name) for name in given} == given
    assert {name: second[name] for name in given if name in second} == {"PLAIN": "other"}


@rule()
async def test_the_working_directory_is_as_given_and_made_if_need_be(case: Case) -> None:
    result = await case.run(
        case.sh("pwd; echo x >file", workdir="/made/for it"),
        case.sh("pwd; cat file", workdir="/made/for it/"),
        case.sh("pwd", workdir="/bin"),
        case.sh("cat file; pwd"),
    )

    printed = [log.stdout for log in result.executors]
    assert printed[:3] == ["/made/for it\n", "/made/for it\nx\n", "/bin\n"]
    assert printed[3].startswith("/"), "Without a workdir the program is somewhere."
    assert "made" not in printed[3], "A workdir is that of one executor."


@rule()
async def test_streams_are_files_of_the_task_byte_for_byte(case: Case) -> None:
    content = ALL_BYTES * 4096
    result = await case.run(
        case.sh("cat; printf '\\000\\377\\n' >&2", stdin="/in/data", stdout="/out/data", stderr="/out/err/err"),
        case.sh("cat", stdin="/out/err/err", stdout="/out/again"),
        case.sh("sha256sum", stdin="/out/data"),
        inputs=[{"path": "/in/data", "url": case.put("data", content)}],
        outputs=[{"path": "/out", "url": case.url("out"), "type": "DIRECTORY"}],
    )

    assert result.state is State.COMPLETE, result
    assert case.delivered["out/data"] == content
    assert case.delivered["out/err/err"] == case.delivered["out/again"] == b"\0\xff\n"
    assert result.stdout.split()[0] == hashlib.sha256(content).hexdigest()


@rule()
async def test_a_stream_file_is_made_anew_by_each_executor_that_names_it(case: Case) -> None:
    file = f"{case.shared_path}/out"
    await case.run(
        case.sh("echo long ago", stdout=file),
        case.sh("echo out; echo err >&2; echo out", stdout=file, stderr=file),
        outputs=[{"path": file, "url": case.url("out")}],
    )

    assert case.delivered["out"] == b"out\nerr\nout\n", "One file for both streams holds both, in their order."


@rule()
async def test_without_stdin_there_is_nothing_to_read(case: Case) -> None:
    result = await case.run(case.sh("wc -c; cat; read line || echo end"))

    assert result.stdout == "0\nend\n"


@rule()
async def test_a_stdin_that_does_not_exist_is_an_error_that_names_it(case: Case) -> None:
    result = await case.run(case.sh("echo never", stdin="/data/no-such-file"), case.sh("echo never"))

    said = "".join([*result.system_logs, *(log.stderr for log in result.executors)])
    assert result.state in (State.EXECUTOR_ERROR, State.SYSTEM_ERROR)
    assert "/data/no-such-file" in said
    assert not any("never" in log.stdout for log in result.executors)


@rule()
async def test_what_an_executor_leaves_running_ends_with_it(case: Case) -> None:
    beat = f"{case.shared_path}/beat"
    result = await case.run(
        case.sh(f"(while :; do echo >>{beat}; sleep 0.1; done) & until [ -s {beat} ]; do sleep 0.1; done"),
        case.sh(f"wc -c <{beat}; sleep 0.7; wc -c <{beat}"),
    )

    before, after = result.stdout.split()
    assert before == after, "A program of the first executor still ran beside the second."


@rule(needs=Capability.IMAGES)
async def test_the_entrypoint_of_the_image_has_no_part(case: Case) -> None:
    result = await case.run(case.argv("echo", "hello", image=await case.harness.other_image("entrypoint")))

    assert result.state is State.COMPLETE, result
    assert result.stdout == "hello\n"


@rule(needs=Capability.IMAGES)
async def test_an_image_needs_nothing_but_the_program(case: Case) -> None:
    """No shell, no tools, no directories: streams, inputs and outputs work all the same."""
    result = await case.run(
        case.argv("/echo", "hello there", image=await case.harness.other_image("bare"), stdout="/out/said", workdir="/work"),
        inputs=[{"path": "/in/data", "content": "x"}],
        outputs=[{"path": "/out/said", "url": case.url("said")}, {"path": "/in/data", "url": case.url("data")}],
    )

    assert result.state is State.COMPLETE, result
    assert result.stdout == "hello there\n"
    assert case.delivered == {"said": b"hello there\n", "data": b"x"}


@rule(needs=Capability.IMAGES)
async def test_an_image_that_cannot_be_had_is_a_system_error_that_names_it(case: Case) -> None:
    result = await case.run(case.sh("true", image="tesgw-conformance/nowhere:1"))

    assert result.state is State.SYSTEM_ERROR
    assert result.says("tesgw-conformance/nowhere:1"), result.system_logs
    assert result.executors == ()


def _environment(block: bytes) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in block.decode().split("\0") if entry)
