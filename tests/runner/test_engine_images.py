"""Pulling: whose credentials, how often, and what a failure says."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import aiodocker
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from tesgw.errors import StageError
from tesgw.runner import Registry
from tesgw.runner.images import Images

REFUSED = "pull access denied for x, repository does not exist or may require 'docker login'"


class FakeEngine:
    """The part of a Docker engine that pulls: notes what it is asked, answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answer: tuple[int, str] | None = None
        self.may_go = asyncio.Event()

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41"})

    async def pull(self, request: web.Request) -> web.Response:
        auth = request.headers.get("X-Registry-Auth")
        self.asked.append((request.query["fromImage"], json.loads(base64.urlsafe_b64decode(auth)) if auth else None))
        await self.may_go.wait()
        if self.answer:
            return web.json_response({"message": self.answer[1]}, status=self.answer[0])
        return web.json_response({"status": "Download complete"})


@pytest.fixture
async def fake(aiohttp_server: AiohttpServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    fake = FakeEngine()
    fake.may_go.set()
    app = web.Application()
    app.add_routes([web.get("/version", fake.version), web.post("/v1.41/images/create", fake.pull)])
    server = await aiohttp_server(app)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.port}")
    return fake


async def test_concurrent_pulls_of_an_image_are_one_and_outlive_who_asked_first(fake: FakeEngine) -> None:
    fake.may_go.clear()
    async with aiodocker.Docker() as docker:
        images = Images(docker, None)
        first, *others = [asyncio.create_task(images.pull("x:1")) for _ in range(3)]
        while not fake.asked:  # noqa: ASYNC110 - a server that is only asked
            await asyncio.sleep(0.01)
        first.cancel()
        fake.may_go.set()
        await asyncio.gather(*others)

    assert fake.asked == [("x:1", None)]


@pytest.mark.parametrize("image", ["reg.example:5000/team/x:1", "https://"])
async def test_the_registry_of_the_settings_gets_its_credentials_and_no_other(fake: FakeEngine, image: str) -> None:
    registry = Registry(url="https://reg.example:5000/v2", username="me", password="secret")
    async with aiodocker.Docker() as docker:
        images = Images(docker, registry)
        await images.pull("reg.example:5000/team/x:1")
        await images.pull("other.example/x:1")

    ours, others = fake.asked
    assert ours[0] == "reg.example:5000/team/x:1"
    assert (ours[1]["username"], ours[1]["password"]) == ("me", "secret")
    assert others == ("other.example/x:1", None)


async def test_logins_of_dockers_own_tool_are_used(fake: FakeEngine, tmp_path: Path) -> None:
    login = base64.b64encode(b"hub-user:hub-word").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": login}}}))
    async with aiodocker.Docker() as docker:
        await Images(docker, None).pull("busybox:1")

    ((image, auth),) = fake.asked
    assert image == "docker.io/library/busybox:1"
    assert (auth["username"], auth["password"]) == ("hub-user", "hub-word")


async def test_credential_helpers_are_asked(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text("""#!/bin/sh\necho '{"ServerURL":"reg.example","Username":"<token>","Secret":"t0ken"}'\n""")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"reg.example": "test"}}))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    async with aiodocker.Docker() as docker:
        await Images(docker, None).pull("reg.example/x:1")

    assert fake.asked[0][1]["identitytoken"] == "t0ken"


@pytest.mark.parametrize(
    ("status", "answer", "advice"),
    [
        (404, REFUSED, "needs a login"),
        (404, "manifest for x:1 not found: manifest unknown", "Check its name and tag."),
        (500, "Get https://reg.example/v2/: dial tcp: no such host", "when its registry can be reached"),
    ],
)
async def test_a_failed_pull_says_what_to_do(fake: FakeEngine, status: int, answer: str, advice: str) -> None:
    fake.answer = (status, answer)
    async with aiodocker.Docker() as docker:
        with pytest.raises(StageError) as failure:
            await Images(docker, None).pull("x:1")

    assert "The image x:1" in str(failure.value)
    assert advice in str(failure.value)
    assert answer in str(failure.value)
