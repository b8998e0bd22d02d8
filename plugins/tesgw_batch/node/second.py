"""A second run of an attempt, as Azure Batch makes one when it has lost the first: it runs nothing, and ends the attempt."""

from __future__ import annotations

import logging
from functools import partial

import aiohttp
from azure.core.exceptions import ResourceNotFoundError

from tesgw import BackendUnavailable
from tesgw.errors import SettingsError
from tesgw.runner import discard
from tesgw_batch import claims
from tesgw_batch.claims import Lost
from tesgw_batch.documents import ENDS, Report
from tesgw_batch.node import words
from tesgw_batch.node.hold import conclude
from tesgw_batch.node.node import Node
from tesgw_batch.node.orders import Orders
from tesgw_batch.node.storage import patiently
from tesgw_batch.node.world import open_world

log = logging.getLogger(__name__)


async def end(node: Node, orders: Orders, session: aiohttp.ClientSession) -> None:
    """Say that the attempt was preempted, once its first runner has stopped or has to have stopped."""
    blob = orders.status.blob
    try:
        claim = await patiently(partial(claims.take, blob, orders.order.lease_seconds))
        report = await patiently(partial(claims.read, blob))
        if report.observation.state not in ENDS:
            await _remove_leftovers(node, orders, session)
            last = words.run_again(report.observation, report.node, node.id)
            await conclude(claim, Report(node=report.node, observation=last))
        await patiently(claim.release)
    except (Lost, ResourceNotFoundError):
        log.info("the attempt was ended by somebody else", extra={"job": orders.order.job.id})


async def _remove_leftovers(node: Node, orders: Orders, session: aiohttp.ClientSession) -> None:
    """Containers of the attempt that are on this very node."""
    try:
        async with open_world(node, orders, session) as world:
            await discard(world, orders.order.job.id)
    except (BackendUnavailable, SettingsError):
        log.exception("no engine to look for containers with")
    else:
        node.heartbeat(orders.order.job.id).unlink(missing_ok=True)
