"""Whole tasks, through the public API, on a real engine."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Gateway, containers, stdout, system_logs

pytestmark = pytest.mark.engine


@pytest.fixture
def http_url() -> Iterator[str]:
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"hello\n")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hello.txt"
    server.shutdown()
    server.server_close()


def test_a_task_with_all_that_a_task_can_have(gateway: Gateway, http_url: str) -> None:
    kept = gateway.files / "whole"

    task = gateway.run(
        "cd /work; cat /in/hello /in/note > dir/both && mkdir dir/deep && echo deep > dir/deep/er && echo one > 1.txt",
        "cat /work/dir/both; echo two > /work/2.txt; echo hidden > /work/.3.txt; pwd; echo $COLOUR >&2",
        name="whole",
        inputs=[{"url": http_url, "path": "/in/hello"}, {"content": "a note\n", "path": "/in/note"}],
        outputs=[
            {"path": "/work/dir", "url": f"file://{kept}/dir", "type": "DIRECTORY"},
            {"path": "/work/*.txt", "path_prefix": "/work", "url": f"file://{kept}/texts"},
        ],
    )

    assert task["state"] == "COMPLETE", task
    assert stdout(task, 1) == "hello\na note\n/\n"
    assert [log["exit_code"] for log in task["logs"][0]["logs"]] == [0, 0]
    assert (kept / "dir/both").read_text() == "hello\na note\n"
    assert (kept / "dir/deep/er").read_text() == "deep\n"
    assert sorted(path.name for path in (kept / "texts").iterdir()) == ["1.txt", "2.txt"]
    assert {output["path"]: output["size_bytes"] for output in task["logs"][0]["outputs"]} == {
        "/work/dir/both": "13",
        "/work/dir/deep/er": "5",
        "/work/1.txt": "4",
        "/work/2.txt": "4",
    }


def test_nothing_of_a_task_is_left_behind(gateway: Gateway) -> None:
    task = gateway.run("mkdir -m 0700 /data/closed && touch /data/closed/x", volumes=["/data"])

    gateway.until(lambda: not containers(task["id"]))
    gateway.until(lambda: not list((gateway.work_dir / "jobs").glob(f"{task['id']}*")))


def test_the_contract_s_directories_are_there(gateway: Gateway) -> None:
    task = gateway.run(
        "echo shared > /tes-wd/shared/x && echo all > /tes-wd/shared-global/contract"
        ' && d=$(mktemp -d "/$AZ_BATCH_TASK_DIR"/tmp.XXXXXX) && touch $d/y && echo own > /tes-wd/z',
        "cat /tes-wd/shared/x /tes-wd/z; ls -A /tes-wd/shared",
    )

    assert task["state"] == "COMPLETE", task
    assert stdout(task, 1) == "shared\nown\nx\n"
    assert (gateway.shared / "contract").read_text() == "all\n"


def test_a_failing_executor_ends_the_task_and_its_outputs_are_kept(gateway: Gateway) -> None:
    kept = gateway.files / "failed.txt"

    task = gateway.run("echo done > /out/x; exit 3", "echo never", outputs=[{"path": "/out/x", "url": str(kept)}])

    assert task["state"] == "EXECUTOR_ERROR"
    assert [log["exit_code"] for log in task["logs"][0]["logs"]] == [3]
    assert kept.read_text() == "done\n"


def test_an_ignored_error_is_recorded_and_passed_over(gateway: Gateway) -> None:
    executors = [
        {"image": "busybox", "command": ["sh", "-c", "exit 3"], "ignore_error": True},
        {"image": "busybox", "command": ["true"]},
    ]

    task = gateway.run(executors=executors)

    assert task["state"] == "COMPLETE"
    assert [log["exit_code"] for log in task["logs"][0]["logs"]] == [3, 0]


@pytest.mark.parametrize(
    ("base", "parameters", "state"),
    [
        ("/ga4gh/tes/v1", {}, "SYSTEM_ERROR"),
        ("/v1", {}, "COMPLETE"),
        ("/v1", {"Missing_Outputs": "error"}, "SYSTEM_ERROR"),
        ("/ga4gh/tes/v1", {"missing_outputs": "warn"}, "COMPLETE"),
    ],
)
def test_a_missing_output_is_what_its_engine_expects(
    gateway: Gateway, base: str, parameters: dict[str, str], state: str
) -> None:
    outputs = [
        {"path": "/out/missing", "url": f"file://{gateway.files}/missing"},
        {"path": "/out/there", "url": f"file://{gateway.files}/there"},
    ]

    task = gateway.run("echo there > /out/there", base=base, outputs=outputs, resources={"backend_parameters": parameters})

    assert task["state"] == state
    assert "/out/missing" in system_logs(task)
    assert [output["path"] for output in task["logs"][0]["outputs"]] == ["/out/there"]


def test_a_host_file_outside_the_roots_is_refused_with_the_setting_s_name(gateway: Gateway) -> None:
    task = gateway.run("cat /in/x", inputs=[{"url": "file:///etc/shadow", "path": "/in/x"}])

    assert task["state"] == "SYSTEM_ERROR"
    assert "LOCAL_FILE_ROOTS" in system_logs(task)
    assert "root:" not in str(task)


def test_cromwell_s_way_of_using_the_shared_directory(gateway: Gateway) -> None:
    """Inputs and outputs whose paths and URLs agree are used in place."""
    call = "/tes-wd/shared-global/cromwell-executions/wf/call-x/execution"
    on_host = gateway.shared / "cromwell-executions/wf/call-x/execution"
    on_host.mkdir(parents=True)
    (on_host / "script").write_text(f"cd {call} && echo out > made && echo $? > rc\n")
    files = [{"url": f"{call}/{name}", "path": f"{call}/{name}"} for name in ("script", "made", "rc")]

    task = gateway.run(f"sh {call}/script", base="/v1", inputs=files[:1], outputs=files)

    assert task["state"] == "COMPLETE", task
    assert (on_host / "rc").read_text() == "0\n"
    assert sorted(output["path"] for output in task["logs"][0]["outputs"]) == [
        f"{call}/{n}" for n in ("made", "rc", "script")
    ]


def test_toil_s_job_store_is_used_where_it_is(make_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    store = tmp_path / "jobstore"
    store.mkdir()
    (store / "job").write_text("first\n")
    gateway = make_gateway(LOCAL_EXTRA_MOUNTS=f"{store},{tmp_path}/absent")

    task = gateway.run(
        f"cat {store}/job; echo second >> {store}/job",
        inputs=[{"url": f"file://{store}", "path": str(store), "type": "DIRECTORY"}],
    )

    assert task["state"] == "COMPLETE", task
    assert stdout(task) == "first\n"
    assert (store / "job").read_text() == "first\nsecond\n"
    assert f"{tmp_path}/absent" in system_logs(task)


def test_the_tails_of_a_running_task_are_visible(gateway: Gateway) -> None:
    task_id = gateway.submit("echo so far; echo bad >&2; sleep 600")

    def shows() -> bool:
        logs = gateway.get(task_id).get("logs") or [{"logs": []}]
        return any(log.get("stdout") == "so far\n" and log.get("stderr") == "bad\n" for log in logs[0]["logs"])

    gateway.until(shows)
    running = gateway.get(task_id)["logs"][0]["logs"][0]
    gateway.cancel(task_id)

    assert "exit_code" not in running
    assert running["start_time"].endswith("Z")
    assert gateway.wait(task_id)["state"] == "CANCELED"
    assert not containers(task_id)


def test_a_cancelled_task_is_gone_before_it_is_canceled(gateway: Gateway) -> None:
    task_id = gateway.submit("trap '' TERM; while true; do sleep 1; done")
    gateway.wait(task_id, "RUNNING")

    gateway.cancel(task_id)
    assert gateway.get(task_id, "MINIMAL", base="/v1")["state"] == "CANCELED"
    assert gateway.get(task_id, "MINIMAL")["state"] == "CANCELING"
    task = gateway.wait(task_id)

    assert task["state"] == "CANCELED"
    assert not containers(task_id)
    gateway.cancel(task_id)
    assert gateway.get(task_id, "MINIMAL")["state"] == "CANCELED"


def test_tasks_that_cancel_at_any_moment_leave_no_container(gateway: Gateway) -> None:
    ids = []
    for _ in range(12):
        ids.append(gateway.submit("sleep 600"))
        gateway.cancel(ids[-1])
    ids += [gateway.submit("sleep 600") for _ in range(6)]
    for task_id in ids:
        gateway.cancel(task_id)

    assert {gateway.wait(task_id)["state"] for task_id in ids} == {"CANCELED"}
    assert [name for task_id in ids for name in containers(task_id)] == []


def test_capacity_is_given_first_come_first_served_with_the_reason_visible(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(LOCAL_CPU_CORES="2", LOCAL_RAM_GB="4")
    first = gateway.submit("sleep 600", resources={"cpu_cores": 2})
    gateway.wait(first, "RUNNING")
    second = gateway.submit(
        "cat /tes-wd/shared-global/order; echo 2 >> /tes-wd/shared-global/order", resources={"cpu_cores": 2}
    )
    third = gateway.submit("echo 3 >> /tes-wd/shared-global/order", resources={"cpu_cores": 2})
    modest = gateway.run("true")
    gateway.until(lambda: "asks for 2 CPU cores" in str(gateway.get(second)))
    impossible = gateway.run("true", resources={"cpu_cores": 3})

    gateway.cancel(first)
    gateway.wait(third)

    assert modest["state"] == "COMPLETE"
    assert impossible["state"] == "SYSTEM_ERROR"
    assert "LOCAL_CPU_CORES" in system_logs(impossible)
    assert gateway.wait(second)["state"] == "COMPLETE"
    assert (gateway.shared / "order").read_text() == "2\n3\n"


def test_memory_is_limited_and_its_end_is_named(gateway: Gateway) -> None:
    task = gateway.run("tail /dev/zero", resources={"ram_gb": 0.02})

    assert task["state"] == "EXECUTOR_ERROR"
    assert task["logs"][0]["logs"][0]["exit_code"] == 137
    assert "memory" in system_logs(task)


def test_what_has_no_effect_is_said_to_the_end(gateway: Gateway) -> None:
    task = gateway.run("exit 1", resources={"zones": ["a"], "preemptible": True, "backend_parameters": {"VmSize": "big"}})

    assert task["resources"] == {"zones": ["a"], "preemptible": True, "backend_parameters": {}}
    assert all(hint in system_logs(task) for hint in ("zones", "preemptible", "'VmSize'"))


def test_a_missing_image_is_a_sentence(gateway: Gateway) -> None:
    task = gateway.run(executors=[{"image": "no-such-image-anywhere:1", "command": ["true"]}])

    assert task["state"] == "SYSTEM_ERROR"
    assert "no-such-image-anywhere:1" in system_logs(task)


def test_a_gigabyte_of_output_costs_the_gateway_neither_memory_nor_disk(gateway: Gateway) -> None:
    assert gateway.process
    status = Path(f"/proc/{gateway.process.pid}/status")
    before = _peak_mb(status)

    task = gateway.run("echo early >&2; yes 0123456789abcdef | head -c 1073741824; echo the end")

    assert task["state"] == "COMPLETE"
    assert stdout(task).endswith("the end\n")
    assert 60_000 < len(stdout(task)) <= 65_536
    assert task["logs"][0]["logs"][0]["stderr"] == "early\n"
    assert _peak_mb(status) - before < 100


def _peak_mb(status: Path) -> int:
    return next(int(line.split()[1]) // 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def test_a_second_gateway_on_the_same_directory_is_refused(gateway: Gateway) -> None:
    other = Gateway(gateway.home, {"LOCAL_WORK_DIR": str(gateway.work_dir)})

    with pytest.raises(AssertionError, match="Another gateway works in LOCAL_WORK_DIR"):
        other.start()
    assert other.process
    assert other.process.wait() == 1
    assert other.process.stdout
    other.process.stdout.close()


def test_images_with_an_entrypoint_a_user_or_no_shell_run_the_command_alone(gateway: Gateway, tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text('FROM busybox\nUSER 1234:1234\nENTRYPOINT ["/bin/false"]\nENV COLOUR=blue\n')
    subprocess.run(["docker", "build", "-q", "-t", "tesgw-test-user", str(tmp_path)], check=True, capture_output=True)

    task = gateway.run(
        executors=[
            {
                "image": "tesgw-test-user",
                "command": ["sh", "-c", 'id -u; echo "$COLOUR $1"; echo x > /out/f; cat', "sh", "$HOME 'a'\n-x é"],
                "stdin": "/in/text",
                "stdout": "/out/stdout",
            }
        ],
        inputs=[{"content": "from stdin", "path": "/in/text"}],
        outputs=[{"path": "/out/stdout", "url": f"{gateway.files}/user-stdout"}],
    )

    assert task["state"] == "COMPLETE", task
    assert (gateway.files / "user-stdout").read_text() == "1234\nblue $HOME 'a'\n-x é\nfrom stdin"
