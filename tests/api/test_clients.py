"""Programs that others wrote, against a real server: py-tes and schemathesis."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import tes

from tests.api.conftest import Gateway
from tests.api.test_create import FULL_TASK

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance"
)


def _url(gateway: Gateway) -> str:
    return f"http://{gateway.client.host}:{gateway.client.port}"


def _use_py_tes(url: str) -> None:
    client = tes.HTTPClient(url)
    task = tes.Task(
        name="p (1)",
        inputs=[tes.Input(url="file:///a", path="/a")],
        executors=[tes.Executor(image="busybox", command=["true"], env={"A": "b"})],
        resources=tes.Resources(cpu_cores=1, ram_gb=0.5, backend_parameters={"VmSize": "x"}),
        tags={"a": "b"},
    )
    task_id = client.create_task(task)

    minimal, basic, full = (client.get_task(task_id, view) for view in ("MINIMAL", "BASIC", "FULL"))
    assert (minimal.id, minimal.state, minimal.executors) == (task_id, "QUEUED", None)
    assert (basic.name, basic.inputs[0].type, basic.tags) == ("p (1)", "FILE", {"a": "b"})
    assert full.executors[0].env == {"A": "b"}
    assert [item.id for item in client.list_tasks(view="FULL", page_size=1).tasks] == [task_id]
    client.cancel_task(task_id)
    assert client.get_task(task_id).state == "CANCELING"
    assert client.get_service_info().name == "Test site"


async def test_py_tes_creates_gets_lists_and_cancels(gateway: Gateway) -> None:
    await asyncio.to_thread(_use_py_tes, _url(gateway))


async def test_schemathesis_finds_no_answer_that_the_document_does_not_promise(gateway: Gateway, tmp_path: Path) -> None:
    task_id = await gateway.create(FULL_TASK)
    # Without a known task it would only ever see that there is none.
    (tmp_path / "schemathesis.toml").write_text(f'[parameters]\n"path.id" = "{task_id}"\n')
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{_url(gateway)}/openapi.json", "--no-color"]
    options = ["--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--checks", CHECKS, "--max-failures", "5"]
    strings = ["--generation-codec", "utf-8", "--generation-allow-x00", "false"]
    process = await asyncio.create_subprocess_exec(
        *command, *options, *strings, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    report, _ = await process.communicate()

    assert process.returncode == 0, report.decode()
    assert len((await gateway.get("/tasks"))["tasks"]) > 1
