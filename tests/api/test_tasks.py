"""Getting, listing and cancelling; how the query strings are read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import V1_0, V1_1, Gateway, task


async def test_a_view_decides_the_fields(gateway: Gateway) -> None:
    task_id = await gateway.create(task(inputs=[{"content": "x", "path": "/a"}]))

    minimal = {"id": task_id, "state": "QUEUED"}
    assert await gateway.get(f"/tasks/{task_id}") == minimal
    assert await gateway.get(f"/tasks/{task_id}?view=MINIMAL") == minimal
    assert (await gateway.get(f"/tasks/{task_id}?view=BASIC"))["inputs"] == [{"path": "/a", "type": "FILE"}]
    assert (await gateway.get(f"/tasks/{task_id}?view=FULL"))["inputs"] == [{"path": "/a", "content": "x", "type": "FILE"}]
    assert await gateway.get("/tasks") == {"tasks": [minimal]}
    assert (await gateway.get("/tasks?view=BASIC"))["tasks"] == [await gateway.get(f"/tasks/{task_id}?view=BASIC")]


async def test_answers_are_plain_json(gateway: Gateway) -> None:
    task_id = await gateway.create(task())

    for path in (f"/tasks/{task_id}", "/tasks", "/service-info"):
        async with gateway.client.get(V1_0 + path) as answer:
            assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("view=minimal", "view"),
        ("view=", "view"),
        ("page_size=0", "page_size"),
        ("page_size=2048", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=1_0", "page_size"),
        ("page_size=%2010", "page_size"),
        ("page_size=%D9%A1", "page_size"),
        ("page_size=1.5", "page_size"),
        ("page_size=", "page_size"),
        ("page_size=" + "9" * 5000, "page_size"),
        ("state=DONE", "state"),
        ("state=queued", "state"),
        ("tag_value=x", "tag_value"),
        ("tag_key=a&tag_value=x&tag_value=y", "tag_value"),
        ("page_token=nonsense", None),
        ("name_prefix=%00", None),
    ],
)
async def test_a_malformed_query_is_refused_by_the_name_of_its_parameter(
    gateway: Gateway, query: str, parameter: str | None
) -> None:
    problem = await gateway.get(f"/tasks?{query}", status=400)

    assert problem["status_code"] == 400
    assert list(problem.get("errors", {})) == ([parameter] if parameter else [])


@pytest.mark.parametrize(
    "query", ["page_token=", "api_key=secret&x[]=1", "page_size=2047", "name_prefix=%ED%A0%80", "state=PAUSED"]
)
async def test_what_a_query_may_hold(gateway: Gateway, query: str) -> None:
    await gateway.get(f"/tasks?{query}")


async def _names(gateway: Gateway, query: str) -> list[str]:
    return [item["name"] for item in (await gateway.get(f"/tasks?view=BASIC&{query}"))["tasks"]]


async def test_tags_are_zipped_by_position(gateway: Gateway) -> None:
    tags: dict[str, dict[str, str]] = {
        "none": {},
        "bar": {"foo": "bar"},
        "bat": {"foo": "bat", "baz": "x"},
        "empty": {"foo": ""},
    }
    for name, own in tags.items():
        await gateway.create(task(name=name, tags=own))

    assert await _names(gateway, "tag_key=foo&tag_value=bar") == ["bar"]
    assert await _names(gateway, "tag_key=foo") == ["empty", "bat", "bar"]
    assert await _names(gateway, "tag_key=foo&tag_value=") == ["empty", "bat", "bar"]
    assert await _names(gateway, "tag_key=foo&tag_key=baz&tag_value=bat") == ["bat"]
    assert await _names(gateway, "tag_key=foo&tag_key=baz&tag_value=&tag_value=y") == []


async def test_pages_show_every_task_once_newest_first(gateway: Gateway) -> None:
    ids = [await gateway.create(task(name=f"n{number}")) for number in range(5)]

    seen: list[str] = []
    token = ""
    while len(seen) < len(ids):
        page = await gateway.get(f"/tasks?page_size=2&name_prefix=n&page_token={token}")
        seen += [item["id"] for item in page["tasks"]]
        token = page.get("next_page_token", "")
    assert seen == ids[::-1]
    assert token == ""


@pytest.mark.parametrize("body", [b"", b"{}", b"not JSON"])
async def test_cancel_needs_no_body_and_may_be_repeated(gateway: Gateway, body: bytes) -> None:
    task_id = await gateway.create(task())

    for _ in range(2):
        path = f"{V1_1}/tasks/{task_id}:cancel"
        async with gateway.client.post(path, data=body, headers={"Content-Type": "application/json"}) as answer:
            assert (answer.status, await answer.json()) == (200, {})
    assert gateway.woken == [task_id] * 3
    assert (await gateway.get(f"/tasks/{task_id}"))["state"] == "CANCELING"


async def test_clients_of_1_0_see_states_they_know(gateway: Gateway) -> None:
    task_id = await gateway.create(task())
    await gateway.store.cancel(task_id)

    async def states(base: str) -> list[Any]:
        return [(await gateway.get(path, base))["state"] for path in (f"/tasks/{task_id}", f"/tasks/{task_id}?view=FULL")]

    assert await states(V1_1) == ["CANCELING", "CANCELING"]
    assert await states(V1_0) == ["CANCELED", "CANCELED"]
    assert (await gateway.get("/tasks?state=CANCELED", V1_0))["tasks"] == [{"id": task_id, "state": "CANCELED"}]
