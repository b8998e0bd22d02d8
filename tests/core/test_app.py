from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tesgw import BackendContext, BackendRefused, Handle, Job, Setting, State, hookimpl
from tesgw.app import create_app
from tesgw.cli import main
from tesgw.errors import BackendError, SettingsError
from tesgw.model import MissingOutputs
from tesgw.settings import SETTINGS, Settings, of_values
from tesgw.store import NewTask, TaskStore
from tests.core.scripted import Script, ScriptedBackend

TASK = {"executors": [{"image": "busybox", "command": ["true"]}]}


class Scripted(ScriptedBackend):
    def __init__(self) -> None:
        super().__init__(Script(on_cancel=State.CANCELED))


def settings(tmp_path: Path, **values: Any) -> Settings:
    return of_values(SETTINGS, {"COMPUTE_BACKEND": "scripted", "LOCAL_WORK_DIR": tmp_path / "work", **values})


async def test_a_task_goes_through_the_wired_application(tmp_path: Path) -> None:
    app = await create_app(settings(tmp_path), specs={"scripted": Scripted})

    async with TestClient(TestServer(app)) as client:
        created = await client.post("/v1/tasks", json=TASK)
        task_id = (await created.json())["id"]
        cancelled = await client.post(f"/v1/tasks/{task_id}:cancel")
        state = (await (await client.get(f"/v1/tasks/{task_id}")).json())["state"]

    assert (created.status, cancelled.status, state) == (200, 200, "CANCELED")
    assert (tmp_path / "work/tesgw.db").exists()


async def test_a_configured_backend_that_is_not_installed_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no backend 'slurm'; installed are"):
        await create_app(settings(tmp_path, COMPUTE_BACKEND="slurm"))

    # and leaves nothing locked
    async with TestServer(await create_app(settings(tmp_path), specs={"scripted": Scripted})):
        pass


async def _leave_task(tmp_path: Path, backend: str) -> None:
    """In the database of a gateway that was stopped: one task that this backend holds."""
    (tmp_path / "work").mkdir()
    store = await TaskStore.open(settings(tmp_path).database_uri)
    await store.add(
        NewTask(
            id="a" * 26,
            created=datetime.now(UTC),
            backend=backend,
            document=TASK,
            missing_outputs=MissingOutputs.WARN,
            warnings=(),
        )
    )
    await store.close()


async def test_a_backend_that_is_no_longer_configured_ends_its_tasks_with_its_own_settings(tmp_path: Path) -> None:
    class Before(ScriptedBackend):
        settings: ClassVar[Sequence[Setting]] = (Setting(name="BEFORE_WORDS", type=str, default="all is well", why="?"),)

        def __init__(self) -> None:
            super().__init__(Script())

        @hookimpl
        async def submit(self, ctx: BackendContext, job: Job) -> Handle:
            raise BackendRefused(ctx.settings["BEFORE_WORDS"])

    await _leave_task(tmp_path, "before")

    app = await create_app(settings(tmp_path), specs={"scripted": Scripted, "before": Before})

    async with TestClient(TestServer(app)) as client:
        task: dict[str, Any] = {}
        while task.get("state") != "SYSTEM_ERROR":
            task = await (await client.get(f"/v1/tasks/{'a' * 26}?view=FULL")).json()
    assert "all is well" in str(task["logs"])


async def test_tasks_at_a_backend_that_is_gone_do_not_stop_the_start(tmp_path: Path) -> None:
    await _leave_task(tmp_path, "gone")

    app = await create_app(settings(tmp_path), specs={"scripted": Scripted})

    async with TestClient(TestServer(app)) as client:
        assert (await (await client.get(f"/v1/tasks/{'a' * 26}")).json())["state"] == "QUEUED"


async def test_two_gateways_do_not_share_a_work_directory(tmp_path: Path) -> None:
    app = await create_app(settings(tmp_path), specs={"scripted": Scripted})

    async with TestServer(app):
        with pytest.raises(SettingsError, match="Another gateway works in LOCAL_WORK_DIR"):
            await create_app(settings(tmp_path), specs={"scripted": Scripted})


async def test_the_work_directory_is_closed_to_other_users(tmp_path: Path) -> None:
    """Tasks may leave programs with a setuid bit below it."""
    async with TestServer(await create_app(settings(tmp_path), specs={"scripted": Scripted})):
        assert (tmp_path / "work").stat().st_mode & 0o077 == 0


async def test_a_work_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file in its place")

    with pytest.raises(SettingsError, match=r"LOCAL_WORK_DIR=.* cannot be used"):
        await create_app(settings(tmp_path), specs={"scripted": Scripted})


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 403), ("::1", 403), ("0.0.0.0", 200)])
async def test_only_a_gateway_on_loopback_minds_the_name_it_is_called_by(tmp_path: Path, host: str, status: int) -> None:
    app = await create_app(settings(tmp_path), host=host, specs={"scripted": Scripted})

    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/v1/tasks", headers={"Host": "evil.example"})

    assert answer.status == status


@pytest.fixture
def _at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_at_home")
def test_settings_are_printed_with_their_sources_but_not_their_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_PRIVATE_DOCKER_REGISTRY_PASSWORD", "hunter2")
    monkeypatch.setenv("APP_LOCAL_MAX_TASKS", "3")

    assert main(["settings"]) == 0

    printed = capsys.readouterr().out
    assert "LOCAL_MAX_TASKS = 3  # environment variable APP_LOCAL_MAX_TASKS" in printed
    assert "PRIVATE_DOCKER_REGISTRY_PASSWORD = (hidden)" in printed
    assert "hunter2" not in printed


@pytest.mark.usefixtures("_at_home")
def test_a_backend_s_secrets_are_not_printed_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_COMPUTE_BACKEND", "batch")
    monkeypatch.setenv("APP_STORAGE_ACCOUNT_KEY", "hunter2")

    assert main(["settings"]) == 0

    printed = capsys.readouterr().out
    assert "STORAGE_ACCOUNT_KEY = (hidden)" in printed
    assert "hunter2" not in printed


@pytest.mark.usefixtures("_at_home")
def test_settings_of_a_backend_that_is_not_in_use_are_no_mistakes(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('STORAGE_ACCOUNT_NAME = "lab"\nBATCH_ACCOUNT_NAME = "lab"\n')

    assert main(["settings"]) == 0


@pytest.mark.usefixtures("_at_home")
def test_the_installed_backends_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backends"]) == 0
    assert "local\ttesgw_local:LocalBackend" in capsys.readouterr().out


@pytest.mark.usefixtures("_at_home")
def test_what_the_operator_has_to_mend_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        assert main(["serve", "--port", port]) == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err

    monkeypatch.setenv("APP_COMPUTE_BACKEND", "slurm")
    assert main(["serve"]) == 1
    assert "tesgw: There is no backend 'slurm'" in capsys.readouterr().err
