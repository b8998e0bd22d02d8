"""Logs: what a task's author sees of a task, while it runs and afterwards."""

from __future__ import annotations

import datetime as dt

from tesgw.conformance.case import Case, Result
from tesgw.conformance.rules import rule
from tesgw.states import State

TAIL_BYTES = 64 * 1024
CLOCKS_MAY_DIFFER = dt.timedelta(minutes=2)


@rule()
async def test_the_tails_of_a_running_executor_are_visible(case: Case) -> None:
    wait = f"until [ -e {case.shared_path}/go ]; do sleep 0.1; done"
    task = await case.submit(
        case.sh("echo first"),
        case.sh(f"echo out; echo err >&2; {wait}; echo done", stdout="/out/file"),
        case.sh("echo last"),
    )

    def shows(seen: Result) -> bool:
        return len(seen.executors) == 2 and (seen.executors[1].stdout, seen.executors[1].stderr) == ("out\n", "err\n")

    seen = await case.until(task, shows)
    (case.shared / "go").touch()
    result = await case.world.ended(task)

    assert seen.state is State.RUNNING
    assert seen.exit_codes == [0, None], "An executor that runs has no exit code, and one that has not started no entry."
    assert (seen.executors[0].stdout, seen.executors[0].end_time is None) == ("first\n", False)
    assert (seen.executors[1].start_time is None, seen.executors[1].end_time) == (False, None)
    assert [log.stdout for log in result.executors] == ["first\n", "out\ndone\n", "last\n"]
    assert result.executors[1].stderr == "err\n"


@rule()
async def test_tails_are_the_last_64_kib_of_each_stream(case: Case) -> None:
    whole = "".join(f"{n}\n" for n in range(1, 30_001))
    show = "seq 1 30000; seq 1 30000 | sed 's/.*/-&/' >&2"

    result = await case.run(case.sh(show), case.sh(show, stdout="/out/out", stderr="/out/err"))

    assert len(result.executors) == 2
    for log in result.executors:
        assert log.stdout == whole[-TAIL_BYTES:]
        assert log.stderr == "".join(f"-{line}\n" for line in whole.split())[-TAIL_BYTES:]


@rule()
async def test_a_line_without_end_is_cut_like_any_other(case: Case) -> None:
    result = await case.run(case.sh("head -c 5000000 /dev/zero | tr '\\0' x; printf end"))

    assert result.state is State.COMPLETE
    assert result.stdout == "x" * (TAIL_BYTES - 3) + "end"


@rule()
async def test_what_is_not_text_is_replaced(case: Case) -> None:
    result = await case.run(case.sh(r"printf 'a\377b\303\251\303'; printf '\000\033[0m\r\n' >&2"))

    assert result.state is State.COMPLETE
    assert result.executors[0].stdout == "a\ufffdbé\ufffd"
    assert result.executors[0].stderr.endswith("\x1b[0m\r\n"), "Control characters are text."


@rule()
async def test_times_tell_when_each_executor_ran(case: Case) -> None:
    begun = dt.datetime.now(dt.UTC)
    result = await case.run(case.sh("sleep 0.3"), case.sh("exit 1"), case.sh("true"))
    ended = dt.datetime.now(dt.UTC)

    times = [time for log in result.executors for time in (log.start_time, log.end_time)]
    known = [time for time in times if time]
    assert len(known) == len(times) == 4, "An executor that never started has no entry."
    assert known == sorted(known)
    assert known[1] - known[0] >= dt.timedelta(seconds=0.2)
    assert begun - CLOCKS_MAY_DIFFER <= known[0]
    assert known[-1] <= ended + CLOCKS_MAY_DIFFER


@rule()
async def test_an_error_of_the_executor_is_not_explained_by_the_system(case: Case) -> None:
    """Its own words are in `stderr`; `system_logs` are for what the task's author cannot see there."""
    result = await case.run(case.sh("echo wrong >&2; exit 1"))

    assert result.state is State.EXECUTOR_ERROR
    assert result.executors[0].stderr == "wrong\n"
    assert not result.says("wrong")


@rule()
async def test_a_failed_transfer_says_why_without_the_credentials(case: Case) -> None:
    url = case.url("missing").replace("http://", "http://name:pass-word@") + "?signature=se-cret"
    missing = await case.run(case.sh("true"), inputs=[{"path": "/in/file", "url": url}])

    assert missing.state is State.SYSTEM_ERROR
    assert missing.says("missing"), missing.system_logs
    assert not missing.says("pass-word")
    assert not missing.says("se-cret")
