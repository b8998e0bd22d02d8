"""That this backend's gateway answers as TES clients expect; the gateway's own tests have the details."""

from __future__ import annotations

from typing import Any

from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.conformance.through_http import HttpWorld, gateway_of


async def _asked(world: HttpWorld, method: str, path: str, **content: Any) -> tuple[int, Any]:
    async with world.client.request(method, f"{world.url}{path}", **content) as answer:
        assert answer.content_type == "application/json"
        return answer.status, await answer.json()


async def _assert_refused(case: Case, document: dict[str, Any], field: str) -> None:
    status, body = await _asked(gateway_of(case), "POST", "/tasks", json=document)

    assert (status, body["status_code"]) == (400, 400), document
    assert field in body["msg"]
    assert any(name.startswith(field) for name in body["errors"]), body


@rule(only="http")
async def test_a_task_that_makes_no_sense_is_refused_with_the_field_that_is_to_blame(case: Case) -> None:
    executor = case.sh("true")
    input, output = {"path": "/tes-wd/in", "url": case.url("in")}, {"path": "/tes-wd/out", "url": case.url("out")}
    faulty: list[tuple[str, dict[str, Any]]] = [
        ("executors", {}),
        ("executors", {"executors": []}),
        ("executors.0.command", {"executors": [{"image": case.harness.image}]}),
        ("executors.0.stdout", {"executors": [{**executor, "stdout": "relative"}]}),
        ("inputs.0", {"executors": [executor], "inputs": [{"path": "/tes-wd/in"}]}),
        ("inputs.0.path", {"executors": [executor], "inputs": [{**input, "path": "in"}]}),
        ("outputs.0.path", {"executors": [executor], "outputs": [{**output, "path": "out"}]}),
        ("outputs.0.url", {"executors": [executor], "outputs": [{"path": "/tes-wd/out"}]}),
        ("resources.cpu_cores", {"executors": [executor], "resources": {"cpu_cores": "many"}}),
    ]
    for field, document in faulty:
        await _assert_refused(case, document, field)


@rule(only="http")
async def test_what_is_not_json_is_refused(case: Case) -> None:
    status, body = await _asked(gateway_of(case), "POST", "/tasks", data=b'{"executors": [')

    assert (status, body["status_code"]) == (400, 400)
    assert "JSON" in body["msg"]


@rule(only="http")
async def test_nobody_has_a_task_that_was_never_made(case: Case) -> None:
    for method, path in (("GET", "/tasks/no-such-task"), ("POST", "/tasks/no-such-task:cancel")):
        status, body = await _asked(gateway_of(case), method, path)

        assert (status, body["status_code"]) == (404, 404)
        assert "no-such-task" in body["msg"]


@rule(only="http")
async def test_a_method_that_a_path_does_not_take_is_refused(case: Case) -> None:
    status, body = await _asked(gateway_of(case), "DELETE", "/tasks")

    assert (status, body["status_code"]) == (405, 405)


@rule(only="http")
async def test_each_view_shows_what_tes_says(case: Case) -> None:
    shown: dict[str, dict[str, Any]] = {}
    inputs = [{"path": "/tes-wd/in", "content": "content of the input"}]
    task = await case.submit(case.sh("echo to stdout"), name="viewed", inputs=inputs)
    await case.world.ended(task)

    for view in ("MINIMAL", "BASIC", "FULL"):
        _, shown[view] = await _asked(gateway_of(case), "GET", f"/tasks/{task}?view={view}")

    assert shown["MINIMAL"] == {"id": task, "state": "COMPLETE"}
    assert shown["BASIC"]["name"] == "viewed"
    assert "content" not in shown["BASIC"]["inputs"][0]
    assert "stdout" not in shown["BASIC"]["logs"][0]["logs"][0]
    assert shown["BASIC"]["logs"][0]["logs"][0]["exit_code"] == 0
    assert shown["FULL"]["inputs"][0]["content"] == "content of the input"
    assert shown["FULL"]["logs"][0]["logs"][0]["stdout"] == "to stdout\n"


@rule(only="http")
async def test_lists_find_tasks_by_name_tag_and_state_page_by_page(case: Case) -> None:
    tags = {"case": case.key}
    tasks = [await case.submit(case.sh(f"exit {code}"), name=f"{case.key}-{code}", tags=tags) for code in (0, 0, 1)]
    for task in tasks:
        await case.world.ended(task)

    async def found(query: str) -> list[str]:
        ids: list[str] = []
        page = ""
        while True:
            _, body = await _asked(gateway_of(case), "GET", f"/tasks?page_size=2&{query}{page}")
            ids += [task["id"] for task in body["tasks"]]
            if not body.get("next_page_token"):
                return ids
            page = f"&page_token={body['next_page_token']}"

    assert await found(f"tag_key=case&tag_value={case.key}") == tasks[::-1]
    assert await found(f"name_prefix={case.key}-1") == tasks[2:]
    assert await found(f"name_prefix={case.key}&state=COMPLETE") == tasks[1::-1]


@rule(only="http")
async def test_service_info_names_the_storage_that_tasks_can_use(case: Case) -> None:
    status, info = await _asked(gateway_of(case), "GET", "/service-info")

    assert status == 200
    assert info["type"]["artifact"] == "tes"
    assert any(case.url("file").startswith(storage) for storage in info["storage"]), info["storage"]
