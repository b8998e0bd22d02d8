"""The paths: both bases, careless slashes, service-info, the page."""

from __future__ import annotations

import re

import pytest

from tests.api.conftest import V1_0, V1_1, Gateway, task

BASES = pytest.mark.parametrize("base", [V1_0, V1_1, "/" + V1_0, V1_0 + "/", "//ga4gh//tes///v1/"])


@BASES
async def test_every_operation_works_under_every_base(gateway: Gateway, base: str) -> None:
    task_id = await gateway.create(task(name="x"), base)

    assert (await gateway.get(f"/tasks/{task_id}?view=BASIC", base))["name"] == "x"
    assert (await gateway.get("/tasks?name_prefix=x", base))["tasks"] == [{"id": task_id, "state": "QUEUED"}]
    assert (await gateway.get("/service-info", base))["type"]["artifact"] == "tes"
    async with gateway.client.post(f"{base}/tasks/{task_id}:cancel") as answer:
        assert answer.status == 200


async def test_service_info_is_that_of_ga4gh(gateway: Gateway) -> None:
    info = await gateway.get("/service-info")

    assert info.pop("version")
    assert info.pop("description")
    assert info == {
        "id": "org.example.tes.tesgw",
        "name": "Test site",
        "type": {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"},
        "organization": {"name": "Test organization", "url": "https://tes.example.org"},
        "storage": ["file:///data"],
        "tesResources_backend_parameters": ["missing_outputs", "vmsize"],
    }


async def test_service_info_of_1_0_has_three_keys(gateway: Gateway) -> None:
    info = await gateway.get("/tasks/service-info", V1_0)

    assert set(info) == {"name", "doc", "storage"}


async def test_health(gateway: Gateway) -> None:
    assert await gateway.get("/healthz", base="") == {"status": "ok"}


async def test_the_home_page_leads_to_the_api_page(gateway: Gateway) -> None:
    async with gateway.client.get("/") as answer:
        assert answer.url.path == "/docs"
        assert answer.content_type == "text/html"
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        page = await answer.text()

    # The policy forbids scripts in the page; what it names has to be there.
    assert "<script>" not in page
    for asset in re.findall(r'(?:src|href)="(docs/[^"]+)"', page):
        async with gateway.client.get(f"/{asset}") as answer:
            assert answer.status == 200
            assert len(await answer.read()) > 50


@pytest.mark.parametrize(("path", "target"), [("/", "docs"), ("/docs/", "../docs")])
async def test_the_way_to_the_api_page_works_behind_any_prefix(gateway: Gateway, path: str, target: str) -> None:
    """A proxy may serve the gateway below a path of its own, so that no address here starts with a slash."""
    async with gateway.client.get(path, allow_redirects=False) as answer:
        assert answer.status == 302
        assert answer.headers["Location"] == target
    async with gateway.client.get(path) as answer:
        assert (answer.status, answer.url.path) == (200, "/docs")
