"""`kill -9` of the gateway at any moment: after a restart every task reaches its right end, and nothing ran twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.e2e.client import Gateway, containers, stdout

pytestmark = pytest.mark.engine

MARK = "echo $TASK >> /tes-wd/shared-global/ran"


@dataclass
class SlowServer:
    """Serves and takes files, but holds every request until `open` is set; `asked` says that one has come."""

    url: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)
    received: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture
def slow() -> Iterator[SlowServer]:
    state = SlowServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.set()
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 500)
            self.wfile.flush()
            state.open.wait(60)
            self.wfile.write(b"y" * 500)

        def do_PUT(self) -> None:
            state.asked.set()
            state.open.wait(60)
            state.received[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the gateway was killed
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    state.open.set()
    server.shutdown()
    server.server_close()


def task_of(name: str, command: str, **executor: Any) -> dict[str, Any]:
    step = {"image": "busybox", "command": ["sh", "-c", f"{MARK}; {command}"], "env": {"TASK": name}, **executor}
    return {"name": name, "executors": [step]}


def ran(gateway: Gateway) -> list[str]:
    return sorted((gateway.shared / "ran").read_text().split())


def restart(gateway: Gateway) -> None:
    gateway.kill()
    gateway.start()


def test_a_task_killed_while_its_input_is_fetched(make_gateway: Callable[..., Gateway], slow: SlowServer) -> None:
    gateway = make_gateway()
    inputs = [{"url": f"{slow.url}/slow", "path": "/in/slow"}]
    task_id = gateway.submit(**task_of("staging", "wc -c < /in/slow"), inputs=inputs)
    assert slow.asked.wait(30)

    gateway.kill()
    slow.open.set()
    gateway.start()

    task = gateway.wait(task_id)
    assert (task["state"], stdout(task)) == ("COMPLETE", "1000\n")
    assert ran(gateway) == ["staging"]


def test_a_task_killed_while_it_runs_and_again_while_it_runs(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    task_id = gateway.submit(**task_of("running", "echo first; sleep 4; echo last; exit 5", stdout="/out/all"))
    gateway.wait(task_id, "RUNNING")

    restart(gateway)
    restart(gateway)

    task = gateway.wait(task_id)
    assert task["state"] == "EXECUTOR_ERROR"
    assert task["logs"][0]["logs"][0]["exit_code"] == 5
    assert stdout(task) == "first\nlast\n"
    assert ran(gateway) == ["running"]


def test_a_task_that_ends_while_no_gateway_runs(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    executors = [*task_of("one", "sleep 1")["executors"], *task_of("two", "true")["executors"]]
    task_id = gateway.submit(executors=executors)
    gateway.wait(task_id, "RUNNING")

    gateway.kill()
    time.sleep(2)
    gateway.start()

    task = gateway.wait(task_id)
    assert task["state"] == "COMPLETE"
    assert [log["exit_code"] for log in task["logs"][0]["logs"]] == [0, 0]
    assert ran(gateway) == ["one", "two"]


def test_a_task_killed_while_it_is_fed_its_stdin(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    lines = "".join(f"line {number}\n" for number in range(3000))
    command = "n=0; while read l; do n=$((n+1)); [ $((n % 1000)) = 0 ] && sleep 1; echo $l; done; echo $n"
    task_id = gateway.submit(
        **task_of("fed", command, stdin="/in/lines", stdout="/out/lines"),
        inputs=[{"content": lines, "path": "/in/lines"}],
        outputs=[{"path": "/out/lines", "url": f"file://{gateway.files}/lines"}],
    )
    gateway.wait(task_id, "RUNNING")

    restart(gateway)

    assert gateway.wait(task_id)["state"] == "COMPLETE"
    assert (gateway.files / "lines").read_text() == lines + "3000\n"
    assert ran(gateway) == ["fed"]


def test_a_task_killed_while_its_output_is_delivered(make_gateway: Callable[..., Gateway], slow: SlowServer) -> None:
    gateway = make_gateway()
    outputs = [{"path": "/out/x", "url": f"{slow.url}/x"}]
    task_id = gateway.submit(**task_of("uploading", "echo kept > /out/x"), outputs=outputs)
    assert slow.asked.wait(30)

    gateway.kill()
    slow.open.set()
    gateway.start()

    task = gateway.wait(task_id)
    assert task["state"] == "COMPLETE", task
    assert slow.received["/x"] == b"kept\n"
    assert task["logs"][0]["outputs"] == [{"path": "/out/x", "url": f"{slow.url}/x", "size_bytes": "5"}]
    assert ran(gateway) == ["uploading"]


def test_queued_tasks_wait_on_in_their_order(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(LOCAL_MAX_TASKS="1")
    names = [f"queued-{number}" for number in range(5)]
    ids = [gateway.submit(**task_of(name, "sleep 0.5")) for name in names]

    restart(gateway)

    assert [gateway.wait(task_id)["state"] for task_id in ids] == ["COMPLETE"] * 5
    assert (gateway.shared / "ran").read_text().split() == names


def test_a_cancel_survives(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    task_id = gateway.submit("trap '' TERM; while true; do sleep 1; done")
    gateway.wait(task_id, "RUNNING")
    gateway.cancel(task_id)

    restart(gateway)

    assert gateway.wait(task_id)["state"] == "CANCELED"
    assert not containers(task_id)


def test_many_tasks_through_many_kills(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    names = [f"many-{number}" for number in range(20)]
    ids = []
    for number, name in enumerate(names):
        outputs = [{"path": "/out/x", "url": f"file://{gateway.files}/{name}"}]
        ids.append(gateway.submit(**task_of(name, f"echo {name} > /out/x; sleep 0.{number % 5}"), outputs=outputs))
        if number % 5 == 4:
            restart(gateway)
    time.sleep(1)
    restart(gateway)

    assert [gateway.wait(task_id)["state"] for task_id in ids] == ["COMPLETE"] * 20
    assert ran(gateway) == sorted(names)
    assert [(gateway.files / name).read_text() for name in names] == [f"{name}\n" for name in names]
