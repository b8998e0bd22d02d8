"""The double on its own, to try the Batch backend without Azure: `tesgw-batch double`."""

from __future__ import annotations

import asyncio
import base64
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

from tesgw_batch import azurite
from tesgw_batch.fake_batch.service import FakeBatch
from tesgw_batch.fake_batch.zygote import Zygote

ACCOUNT = "tesgwdouble"
IMAGE = "tesgw-double"
"""The name by which nodes know this very installation: no image has to be built."""


class Options(Protocol):
    directory: Path | None
    """Where nodes and file shares are; None: in a temporary directory. Docker's engine has to know it by the same name."""
    host: str
    port: int
    """0: whatever is free."""


async def serve(options: Options) -> int:
    """Run the double and its storage until interrupted; tell how a gateway uses them. Returns the exit code."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        async with running(options) as settings:
            for name, value in settings.items():
                print(f"export APP_{name}='{value}'", flush=True)
            await stopped.wait()
    except azurite.NoAzurite as problem:
        print(problem, flush=True)
        return 1
    return 0


@asynccontextmanager
async def running(options: Options) -> AsyncIterator[Mapping[str, str]]:
    """The settings of a gateway that uses the double. With the context all that runs on its nodes ends."""
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    async with AsyncExitStack() as opened:
        directory = options.directory or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="tesgw-double-")))
        directory = directory.resolve()
        storage_url = await opened.enter_async_context(azurite.running(directory / "azurite", ACCOUNT, key))
        runner = Zygote("tesgw_batch.node.main")
        await runner.start()
        opened.push_async_callback(runner.stop)
        batch = FakeBatch(
            directory / "batch",
            account=ACCOUNT,
            key=key,
            programs={IMAGE: runner},
            variables={"TESGW_SHIELD": "off"},  # this machine's firewall is no node's
            mounts=directory / "shares",
        )
        opened.push_async_callback(batch.stop)
        await batch.start(options.host, options.port)
        yield _settings(batch.url, storage_url, key)


def _settings(batch_url: str, storage_url: str, key: str) -> Mapping[str, str]:
    return {
        "COMPUTE_BACKEND": "batch",
        "BATCH_ACCOUNT_NAME": ACCOUNT,
        "BATCH_ACCOUNT_KEY": key,
        "BATCH_ACCOUNT_URL": batch_url,
        "BATCH_REGION": "offline",
        "STORAGE_ACCOUNT_NAME": ACCOUNT,
        "STORAGE_ACCOUNT_KEY": key,
        "STORAGE_ACCOUNT_URL": storage_url,
        "FILETRANSFER_CONTAINER_IMAGE": IMAGE,
    }
