"""The emulator of blob storage: found, started, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob.aio import ContainerClient
from tesgw_batch.azurite import NoAzurite, ensure, running

from tests.plugins.batch.blobs import Blobs

KILLED = """
import asyncio, pathlib, sys
from tesgw_batch.azurite import running

async def main() -> None:
    async with running(pathlib.Path(sys.argv[1]), "other", "a2V5") as url:
        print(url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def answers(url: str) -> bool:
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(url):
                return True
        except aiohttp.ClientConnectionError:
            return False


def program(file: Path, script: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


async def gone(url: str) -> None:
    """Wait until nobody answers there."""
    async with asyncio.timeout(10):
        while await answers(url):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


async def test_the_real_sdk_stores_reads_and_is_refused(container: ContainerClient) -> None:
    await container.upload_blob("a", b"content")

    with pytest.raises(ResourceExistsError):
        await container.upload_blob("a", b"other")
    assert await (await container.download_blob("a")).readall() == b"content"


async def test_what_is_signed_for_one_right_has_no_other(azurite: Blobs, container: ContainerClient) -> None:
    await container.upload_blob("a", b"content")
    async with aiohttp.ClientSession() as session:
        url = azurite.signed(container.container_name, "r", "a")
        async with session.get(url) as read, session.delete(url) as deleted:
            assert (read.status, await read.read(), deleted.status) == (200, b"content", 403)


async def test_two_run_side_by_side_and_end_with_their_contexts(azurite: Blobs, tmp_path: Path) -> None:
    async with running(tmp_path, "other", "a2V5", options=["--debug=debug.log"]) as url:
        assert (tmp_path / "debug.log").exists()
        assert urlsplit(url).path == "/other"
        assert urlsplit(url).netloc != urlsplit(azurite.url).netloc
        assert await answers(url)

    assert not await answers(url)


async def test_it_ends_when_its_owner_is_killed(azurite: Blobs, tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(tmp_path), stdout=asyncio.subprocess.PIPE)
    assert owner.stdout
    url = (await owner.stdout.readline()).decode().strip()
    assert await answers(url)

    os.kill(owner.pid, signal.SIGKILL)
    await owner.communicate()

    await gone(url)


async def test_what_stops_it_from_starting_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TESGW_AZURITE", program(tmp_path / "azurite-blob", "echo 'Node.js is too old' >&2"))

    with pytest.raises(NoAzurite, match=r"does not start on this machine: Node\.js is too old"):
        async with running(tmp_path, "other", "a2V5"):
            pass


async def test_an_executable_that_is_named_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TESGW_AZURITE", str(tmp_path / "nothing"))

    with pytest.raises(NoAzurite, match=r"TESGW_AZURITE is .*nothing, which cannot be run"):
        async with running(tmp_path, "other", "a2V5"):
            pass


async def test_a_machine_without_node_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TESGW_AZURITE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NoAzurite, match=r"Node\.js 20 or newer"):
        async with running(tmp_path, "other", "a2V5"):
            pass


async def test_it_is_installed_once_though_many_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = cached(
        monkeypatch, tmp_path, 'mkdir -p "$3/node_modules/.bin" && sleep 0.2 && touch "$3/node_modules/.bin/azurite-blob"'
    )

    found = await asyncio.gather(*(asyncio.to_thread(ensure) for _ in range(3)))

    assert found == [home / "node_modules/.bin/azurite-blob"] * 3
    [asked] = (tmp_path / "asked").read_text().splitlines()
    assert asked.endswith("azurite@3.37.0")
    assert {path.name for path in home.parent.iterdir()} == {home.name, f"{home.name}.lock"}


async def test_half_an_installation_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = cached(monkeypatch, tmp_path, 'touch "$3/half"; echo "no network" >&2; exit 1')

    with pytest.raises(NoAzurite, match="no network"):
        await asyncio.to_thread(ensure)
    assert {path.name for path in home.parent.iterdir()} == {f"{home.name}.lock"}


def cached(monkeypatch: pytest.MonkeyPatch, directory: Path, npm: str) -> Path:
    """Where it belongs in an empty cache, on a machine whose npm does this after it has noted what it was asked for."""
    program(directory / "bin" / "npm", f'echo "$@" >> {directory}/asked\n{npm}')
    program(directory / "bin" / "node", "")
    monkeypatch.delenv("TESGW_AZURITE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
    monkeypatch.setenv("PATH", f"{directory}/bin:/usr/bin:/bin")
    return directory / "cache" / "tesgw" / "azurite-3.37.0"
