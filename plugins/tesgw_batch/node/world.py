"""What this node gives the runner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tesgw import Job
from tesgw.runner import Engine, Registry, Transfers, World
from tesgw.runner.files import Namespace
from tesgw.runner.transfer.azure import AzureBlobs
from tesgw_batch.node.node import Node
from tesgw_batch.node.orders import Orders, Signatures


@contextlib.asynccontextmanager
async def open_world(
    node: Node, orders: Orders, session: aiohttp.ClientSession, registry: Registry | None = None
) -> AsyncIterator[World]:
    """Connected to the node's engine. Raises `EngineGone`, or SettingsError if the engine cannot reach our files."""
    order, signatures = orders.order, Signatures(orders)
    volumes = _volumes(node, order.job)
    blobs = AzureBlobs(lambda: session, covers=signatures.covers, sign=signatures.sign)
    await asyncio.to_thread(_name, node)
    engine = await Engine.open(node.work_dir, registry=registry)
    try:
        transfers = Transfers(http=lambda: session, files=Namespace(volumes), special=[blobs])
        yield World(engine, transfers, node.work_dir, volumes, network=order.network)
    finally:
        await engine.close()


def _volumes(node: Node, job: Job) -> dict[str, Path]:
    return {job.layout.shared_global: node.file_share} if node.file_share.is_dir() else {}


def _name(node: Node) -> None:
    """Have the engine label containers as the guard looks for them."""
    node.work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (node.work_dir / "instance").write_text(node.instance)
