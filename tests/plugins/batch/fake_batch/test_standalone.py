"""The double on its own: what it prints is all that a gateway needs to reach it."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

from azure.batch.aio import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob.aio import BlobServiceClient

from tests.plugins.batch.blobs import Blobs

SERVE = (
    "import asyncio, sys, types, pathlib; from tesgw_batch.fake_batch.standalone import serve; "
    "sys.exit(asyncio.run(serve(types.SimpleNamespace(directory=pathlib.Path(sys.argv[1]), host='127.0.0.1', port=0))))"
)


async def test_it_runs_until_interrupted_and_says_how_it_is_used(tmp_path: Path, azurite: Blobs) -> None:
    """The fixture is only for its rule where no Azurite can be had."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVE, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    settings: dict[str, str] = {}
    try:
        while "FILETRANSFER_CONTAINER_IMAGE" not in settings:
            line = (await process.stdout.readline()).decode()
            found = re.fullmatch(r"export APP_(\w+)='(.*)'\n", line)
            assert found, line
            settings[found[1]] = found[2]
        await try_out(settings)
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await process.wait() == 0


async def try_out(settings: dict[str, str]) -> None:
    key = AzureNamedKeyCredential(settings["BATCH_ACCOUNT_NAME"], settings["BATCH_ACCOUNT_KEY"])
    async with BatchClient(settings["BATCH_ACCOUNT_URL"], key) as batch:
        assert [pool.id async for pool in batch.list_pools()] == []
    credential = {"account_name": settings["STORAGE_ACCOUNT_NAME"], "account_key": settings["STORAGE_ACCOUNT_KEY"]}
    async with BlobServiceClient(settings["STORAGE_ACCOUNT_URL"], credential=credential) as blobs:
        await blobs.create_container("documents")
