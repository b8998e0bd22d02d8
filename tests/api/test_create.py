"""What a task may hold, and that all of it comes back as it was sent."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tesgw.model import MissingOutputs
from tests.api.conftest import V1_0, V1_1, Gateway, executor, task

FULL_TASK: dict[str, Any] = {
    "name": "'root' kind-root/instance-9oz83qeh v1",
    "description": "",
    "inputs": [
        {"name": "", "url": "s3://bucket/a%20b", "path": "/data//a", "type": "FILE", "streamable": False},
        {"url": "/host/dir", "path": "/data/dir/", "type": "DIRECTORY", "description": "a directory"},
        {"content": "größer\n", "path": "/tmp/run.sh", "type": "FILE"},
        {"content": "", "path": "/data/empty", "type": "FILE"},
    ],
    "outputs": [
        {"url": "file:///out", "path": "/work/*.tsv", "path_prefix": "/work", "type": "FILE"},
        {"url": "file:///out/dir", "path": "/work/dir", "type": "DIRECTORY", "name": "dir", "path_prefix": ""},
    ],
    "resources": {
        "cpu_cores": 2,
        "ram_gb": 0.0671,
        "disk_gb": 8,
        "preemptible": False,
        "zones": [],
        "backend_parameters": {"vmsize": "Standard_D2"},
        "backend_parameters_strict": False,
    },
    "executors": [
        {
            "image": "quay.io/gcr/x:1",
            "command": ["sh", "-c", "echo \"$HOME\" '\n' ü", ""],
            "workdir": "/",
            "stdin": "/data/a",
            "stdout": "",
            "stderr": "/work/err",
            "env": {"A": "", "b.c": "=x="},
            "ignore_error": True,
        },
        {"image": "busybox", "command": ["true"]},
    ],
    "volumes": ["/pulsar_staging/"],
    "tags": {"": "", "WORKFLOW_ID": "cwl-01234"},
}


@pytest.mark.parametrize("base", [V1_0, V1_1])
async def test_a_task_comes_back_as_it_was_sent(gateway: Gateway, base: str) -> None:
    task_id = await gateway.create(FULL_TASK, base)

    stored = await gateway.get(f"/tasks/{task_id}?view=FULL", base)
    assert stored.pop("id") == task_id
    assert stored.pop("state") == "QUEUED"
    assert stored.pop("creation_time").startswith("2026-01-31T12:00:00")
    stored.pop("logs", None)
    assert stored == FULL_TASK


async def test_ids_are_26_lower_case_letters_and_digits(gateway: Gateway) -> None:
    ids = [await gateway.create(task()) for _ in range(3)]

    assert len(set(ids)) == 3
    assert all(re.fullmatch("[a-z0-9]{26}", task_id) for task_id in ids)


async def test_a_created_task_wakes_the_scheduler(gateway: Gateway) -> None:
    task_id = await gateway.create(task())

    assert gateway.woken == [task_id]


async def test_nulls_extra_keys_and_read_only_fields_count_as_not_sent(gateway: Gateway) -> None:
    sent = {
        "id": "mine",
        "state": "COMPLETE",
        "logs": [{"nonsense": 1}],
        "creation_time": 7,
        "name": None,
        "inputs": None,
        "outputs": [{"path": "/a", "url": "file:///a", "type": None, "colour": "red"}],
        "executors": [executor(env=None, stdin=None, ignore_error=None, extra={"deep": [None]})],
        "resources": {"cpu_cores": None, "backend_parameters": {"VmSize": None}},
        "tags": {"parent": None, "a": "b"},
        "volumes": None,
        "extra": 1,
    }
    task_id = await gateway.create(sent)

    stored = await gateway.get(f"/tasks/{task_id}?view=BASIC")
    assert task_id != "mine"
    assert stored["state"] == "QUEUED"
    assert set(stored) - {"logs"} == {"id", "state", "outputs", "executors", "resources", "tags", "creation_time"}
    assert stored["outputs"] == [{"path": "/a", "url": "file:///a", "type": "FILE"}]
    assert stored["executors"] == [executor()]
    assert stored["tags"] == {"a": "b"}
    assert "None" not in str(stored)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no executors": ({"name": "x"}, "executors"),
    "null executors": ({"executors": None}, "executors"),
    "empty executors": ({"executors": []}, "executors"),
    "executor is null": ({"executors": [None]}, "executors.0"),
    "executors is no list": ({"executors": {}}, "executors"),
    "no command": ({"executors": [{"image": "x"}]}, "executors.0.command"),
    "empty command": ({"executors": [executor(command=[])]}, "executors.0.command"),
    "command is a string": ({"executors": [executor(command="true")]}, "executors.0.command"),
    "empty program": ({"executors": [executor(command=["", "x"])]}, "executors.0.command.0"),
    "null argument": ({"executors": [executor(command=["a", None])]}, "executors.0.command.1"),
    "empty image": ({"executors": [executor(), executor(image="")]}, "executors.1.image"),
    "null in env": ({"executors": [executor(env={"A": None})]}, "executors.0.env.A"),
    "number in env": ({"executors": [executor(env={"A": 1})]}, "executors.0.env.A"),
    "= in a variable": ({"executors": [executor(env={"A=B": "c"})]}, "executors.0.env.A=B"),
    "variable without name": ({"executors": [executor(env={"": "c"})]}, "executors.0.env."),
    "argument longer than Linux takes": ({"executors": [executor(command=["a", "ü" * 65_536])]}, "executors.0.command.1"),
    "variable longer than Linux takes": ({"executors": [executor(env={"A": "x" * 131_070})]}, "executors.0.env.A"),
    "more arguments than Linux takes": ({"executors": [executor(command=["x" * 100_000] * 20)]}, "executors.0.command"),
    "relative stdin": ({"executors": [executor(stdin="in")]}, "executors.0.stdin"),
    "stdout is the root": ({"executors": [executor(stdout="/")]}, "executors.0.stdout"),
    "stderr goes up": ({"executors": [executor(stderr="/a/../b")]}, "executors.0.stderr"),
    "workdir in /proc": ({"executors": [executor(workdir="/proc/1")]}, "executors.0.workdir"),
    "relative workdir": ({"executors": [executor(workdir="work")]}, "executors.0.workdir"),
    "ignore_error is a string": ({"executors": [executor(ignore_error="true")]}, "executors.0.ignore_error"),
    "ignore_error is a number": ({"executors": [executor(ignore_error=1)]}, "executors.0.ignore_error"),
    "relative volume": (task(volumes=["v"]), "volumes.0"),
    "volume over the root": (task(volumes=["/ok", "/"]), "volumes.1"),
    "volume over /etc": (task(volumes=["/etc"]), "volumes.0"),
    "number in tags": (task(tags={"a": 1}), "tags.a"),
    "tags is a list": (task(tags=["a"]), "tags"),
    "name is a number": (task(name=1), "name"),
    "input without source": (task(inputs=[{"path": "/a"}]), "inputs.0.url"),
    "input with an empty url": (task(inputs=[{"path": "/a", "url": ""}]), "inputs.0.url"),
    "input without path": (task(inputs=[{"url": "file:///a"}]), "inputs.0.path"),
    "relative input": (task(inputs=[{"url": "file:///a", "path": "a"}]), "inputs.0.path"),
    "input type": (task(inputs=[{"url": "file:///a", "path": "/a", "type": "file"}]), "inputs.0.type"),
    "content of a directory": (task(inputs=[{"content": "x", "path": "/a", "type": "DIRECTORY"}]), "inputs.0.content"),
    "content too long": (task(inputs=[{"content": "x" * (2**20 + 1), "path": "/a"}]), "inputs.0.content"),
    "content too long in UTF-8": (task(inputs=[{"content": "ü" * (2**19 + 1), "path": "/a"}]), "inputs.0.content"),
    "two inputs on one path": (
        task(inputs=[{"content": "x", "path": "/a/b"}, {"content": "x", "path": "/a//b/"}]),
        "inputs.1.path",
    ),
    "input below a file": (
        task(inputs=[{"content": "x", "path": "/a/b"}, {"content": "", "path": "/a-b"}, {"content": "", "path": "/a"}]),
        "inputs.0.path",
    ),
    "output without url": (task(outputs=[{"path": "/a"}]), "outputs.0.url"),
    "output with an empty url": (task(outputs=[{"path": "/a", "url": ""}]), "outputs.0.url"),
    "relative output": (task(outputs=[{"path": "a", "url": "file:///a"}]), "outputs.0.path"),
    "wildcards without prefix": (task(outputs=[{"path": "/a/*", "url": "file:///a"}]), "outputs.0.path_prefix"),
    "wildcards with a sibling's prefix": (
        task(outputs=[{"path": "/ab/*", "path_prefix": "/a", "url": "file:///a"}]),
        "outputs.0.path_prefix",
    ),
    "wildcards in the prefix": (
        task(outputs=[{"path": "/a/*/b", "path_prefix": "/a/*", "url": "file:///a"}]),
        "outputs.0.path_prefix",
    ),
    "fraction of a core": (task(resources={"cpu_cores": 8.0}), "resources.cpu_cores"),
    "cores are true": (task(resources={"cpu_cores": True}), "resources.cpu_cores"),
    "cores in a string": (task(resources={"cpu_cores": "8"}), "resources.cpu_cores"),
    "negative cores": (task(resources={"cpu_cores": -1}), "resources.cpu_cores"),
    "more cores than an int32": (task(resources={"cpu_cores": 2**31}), "resources.cpu_cores"),
    "ram in a string": (task(resources={"ram_gb": "8"}), "resources.ram_gb"),
    "negative ram": (task(resources={"ram_gb": -0.5}), "resources.ram_gb"),
    "ram beyond any machine": (task(resources={"ram_gb": 1e300}), "resources.ram_gb"),
    "disk is true": (task(resources={"disk_gb": True}), "resources.disk_gb"),
    "zones is a string": (task(resources={"zones": "eu"}), "resources.zones"),
    "parameter is a number": (task(resources={"backend_parameters": {"vmsize": 1}}), "resources.backend_parameters.vmsize"),
    "parameter given twice": (
        task(resources={"backend_parameters": {"vmsize": "a", "VmSize": "a"}}),
        "resources.backend_parameters.VmSize",
    ),
    "strict and not supported": (
        task(resources={"backend_parameters": {"gpu": "a"}, "backend_parameters_strict": True}),
        "resources.backend_parameters.gpu",
    ),
    "missing_outputs that nobody knows": (
        task(resources={"backend_parameters": {"Missing_Outputs": "ignore"}}),
        "resources.backend_parameters.missing_outputs",
    ),
}


@pytest.mark.parametrize(("sent", "field"), REFUSED.values(), ids=REFUSED)
async def test_a_malformed_task_is_refused_by_the_name_of_its_field(gateway: Gateway, sent: Any, field: str) -> None:
    errors = await gateway.refuse(sent)

    assert list(errors) == [field]
    assert all(isinstance(text, str) for text in errors[field])
    assert gateway.woken == []


async def test_all_faults_of_a_task_are_told_at_once(gateway: Gateway) -> None:
    errors = await gateway.refuse(task(inputs=[{"path": "a"}], volumes=["v"]))

    assert set(errors) == {"inputs.0.url", "inputs.0.path", "volumes.0"}


@pytest.mark.parametrize(
    "accepted",
    [
        task(inputs=[{"content": "x", "path": "/a"}, {"content": "x", "path": "/ab"}, {"content": "x", "path": "/a.b"}]),
        task(inputs=[{"url": "/d", "path": "/d", "type": "DIRECTORY"}, {"content": "x", "path": "/d/x"}]),
        task(inputs=[{"content": "x" * 2**20, "path": "/a"}]),
        task(inputs=[{"content": "\\u0000 and \\\\u0000 are text", "path": "/a"}]),
        task(outputs=[{"path": "/a", "url": "file:///a"}, {"path": "/a", "url": "file:///b"}]),
        task(outputs=[{"path": "/*", "url": "file:///a", "path_prefix": "/"}]),
        task(resources={"cpu_cores": 0, "ram_gb": 0, "disk_gb": 0.0}),
        {"executors": [executor(workdir="", stdin="", stderr="")]},
    ],
)
async def test_what_looks_odd_but_means_something_is_accepted(gateway: Gateway, accepted: Any) -> None:
    await gateway.create(accepted)


async def _system_logs(gateway: Gateway, task_id: str) -> list[str]:
    stored = await gateway.get(f"/tasks/{task_id}?view=FULL")
    return [line for log in stored.get("logs", []) for line in log.get("system_logs", [])]


async def test_unsupported_backend_parameters_are_dropped_with_a_warning(gateway: Gateway) -> None:
    parameters = {"internal_path_prefix": "x", "VMSize": "Standard_D2"}
    task_id = await gateway.create(task(resources={"backend_parameters": parameters}))

    stored = await gateway.get(f"/tasks/{task_id}?view=BASIC")
    assert stored["resources"] == {"backend_parameters": {"vmsize": "Standard_D2"}}
    (line,) = await _system_logs(gateway, task_id)
    assert "'internal_path_prefix'" in line


HINTS = task(
    inputs=[{"url": "file:///a", "path": "/a", "streamable": True}], resources={"zones": ["eu-1"], "preemptible": True}
)


async def test_hints_without_effect_are_echoed_and_noted(gateway: Gateway) -> None:
    task_id = await gateway.create(HINTS)

    stored = await gateway.get(f"/tasks/{task_id}?view=BASIC")
    assert stored["resources"] == HINTS["resources"]
    assert [line.split()[0] for line in await _system_logs(gateway, task_id)] == [
        "resources.zones",
        "resources.preemptible",
        "inputs.streamable",
    ]


async def test_hints_that_the_backend_heeds_are_not_noted(gateway_with: Callable[..., Awaitable[Gateway]]) -> None:
    gateway = await gateway_with(has_zones=True, has_preemptible=True)
    task_id = await gateway.create(task(resources=HINTS["resources"]))

    assert await _system_logs(gateway, task_id) == []


@pytest.mark.parametrize(
    ("setting", "parameter", "base", "meant"),
    [
        (None, None, V1_0, MissingOutputs.WARN),
        (None, None, V1_1, MissingOutputs.ERROR),
        (MissingOutputs.ERROR, None, V1_0, MissingOutputs.ERROR),
        (MissingOutputs.WARN, None, V1_1, MissingOutputs.WARN),
        (MissingOutputs.WARN, "error", V1_1, MissingOutputs.ERROR),
        (None, "warn", V1_1, MissingOutputs.WARN),
    ],
)
async def test_missing_outputs_go_by_task_then_setting_then_dialect(
    gateway_with: Callable[..., Awaitable[Gateway]],
    setting: MissingOutputs | None,
    parameter: str | None,
    base: str,
    meant: MissingOutputs,
) -> None:
    gateway = await gateway_with(missing_outputs=setting)
    task_id = await gateway.create(task(resources={"backend_parameters": {"missing_outputs": parameter}}), base)

    assert (await gateway.store.read(task_id)).missing_outputs is meant
