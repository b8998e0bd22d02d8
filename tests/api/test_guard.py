"""What a web page may do with a gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.api.conftest import V1_1, Gateway, task

MakeGateway = Callable[..., Awaitable[Gateway]]
PAGE = "https://page.example"


async def _post(gateway: Gateway, **headers: str) -> int:
    async with gateway.client.post(f"{V1_1}/tasks", json=task(), headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("tes.localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("127.8.9.1", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("page.example", 403),
        ("localhost.page.example", 403),
        ("notlocalhost", 403),
        ("127.0.0.1.page.example", 403),
        ("0.0.0.0", 403),
        ("[::2]", 403),
        ("user@page.example", 403),
        ("localhost:x", 403),
        ("", 403),
    ],
)
async def test_a_gateway_on_loopback_answers_to_loopback_names_only(gateway: Gateway, host: str, status: int) -> None:
    async with gateway.client.get("/healthz", headers={"Host": host}) as answer:
        assert answer.status == status
        if status == 403:
            assert (await answer.json())["status_code"] == 403


async def test_a_gateway_on_the_network_answers_to_any_name(gateway_with: MakeGateway) -> None:
    gateway = await gateway_with(is_loopback=False)

    assert await _post(gateway, Host="tes.example.org") == 200


@pytest.mark.parametrize("origin", [PAGE, "null", "http://localhost:1", "http://127.0.0.1", ""])
async def test_a_foreign_page_cannot_change_anything(gateway: Gateway, origin: str) -> None:
    assert await _post(gateway, Origin=origin) == 403
    assert gateway.woken == []


async def test_a_foreign_page_is_not_told_that_it_may_read(gateway: Gateway) -> None:
    async with gateway.client.get("/healthz", headers={"Origin": PAGE}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


async def test_our_own_page_may_post(gateway: Gateway) -> None:
    own = f"http://{gateway.client.host}:{gateway.client.port}"

    assert await _post(gateway, Origin=own) == 200


@pytest.mark.parametrize(("origins", "origin"), [((PAGE,), PAGE), (("*",), "https://any.example")])
async def test_listed_origins_read_and_write(gateway_with: MakeGateway, origins: tuple[str, ...], origin: str) -> None:
    gateway = await gateway_with(cors_origins=origins)

    assert await _post(gateway, Origin=origin) == 200
    for path in ("/healthz", "/v1/tasks/unknown", "/nothing"):
        async with gateway.client.get(path, headers={"Origin": origin}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == origin


async def test_a_preflight_is_answered_before_the_method_is_looked_at(gateway_with: MakeGateway) -> None:
    gateway = await gateway_with(cors_origins=(PAGE,))
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}

    async with gateway.client.options(f"{V1_1}/tasks", headers=asked) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Content-Type" in answer.headers["Access-Control-Allow-Headers"]
    async with gateway.client.options(f"{V1_1}/tasks", headers=asked | {"Origin": "https://other.example"}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
