"""A disk that is full under the database: new work is refused for now, and what is known is still told."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tesgw.store import TaskStore
from tests.api.conftest import V1_1, Gateway, task


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", tmp_path], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture
async def store(disk: Path) -> AsyncIterator[TaskStore]:
    store = await TaskStore.open(f"sqlite:///{disk}/tesgw.db")
    yield store
    await store.close()


def _fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def test_a_full_disk_refuses_new_tasks_and_tells_of_known_ones(
    gateway: Gateway, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = await gateway.create(task(name="known"))
    _fill(disk)

    for path, sent in (("/tasks", task(name="new")), (f"/tasks/{known}:cancel", {})):
        async with gateway.client.post(f"{V1_1}{path}", json=sent) as answer:
            assert answer.status == 503
            assert await answer.json() == {
                "status_code": 503,
                "msg": "The database cannot be written: database or disk is full. Nothing was changed; try again later.",
            }
    assert [(record.levelname, record.message, record.exc_info) for record in caplog.records] == [
        ("ERROR", "database unavailable", None)
    ] * 2
    for view in ("MINIMAL", "BASIC", "FULL"):
        assert (await gateway.get(f"/tasks/{known}?view={view}"))["state"] == "QUEUED"
        assert [found["id"] for found in (await gateway.get(f"/tasks?view={view}"))["tasks"]] == [known]
    assert gateway.woken == [known]

    (disk / "filler").unlink()
    new = await gateway.create(task(name="new"))
    assert [found["id"] for found in (await gateway.get("/tasks"))["tasks"]] == [new, known]
