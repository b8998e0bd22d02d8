"""`tesgw-batch run`: one attempt, on a node. START HERE."""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial

import aiohttp
import uvloop
from azure.core.exceptions import AzureError

from tesgw import Handle, Observation, State
from tesgw_batch import claims
from tesgw_batch.documents import Report
from tesgw_batch.node import logs, second
from tesgw_batch.node.attempt import Attempt
from tesgw_batch.node.hold import Hold
from tesgw_batch.node.node import Node
from tesgw_batch.node.orders import Orders
from tesgw_batch.node.storage import patiently

log = logging.getLogger(__name__)


def main(argv: Sequence[str] = ()) -> int:
    """Run the attempt that the environment names; 0 once its status document says all there is to say."""
    try:
        order_url = os.environ.pop("TESGW_ORDER_URL")
        node = Node.of(os.environ)
    except KeyError as error:
        print(
            f"tesgw-batch run: {error.args[0]} is not set. Azure Batch starts this, as a task of the gateway's.",
            file=sys.stderr,
        )
        return 2
    logs.configure()
    try:
        uvloop.run(run(node, order_url))
    except Exception:
        log.exception("the runner failed")
        return 1
    return 0


async def run(node: Node, order_url: str) -> None:
    """Run the attempt once, whoever else may try to. Raises what keeps this from being told in its status document."""
    cookies = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=cookies, trust_env=True, auto_decompress=False) as session:
        orders = Orders(order_url, session)
        order = await orders.read()
        if order is None:
            log.info("the order was taken back")
            return
        # With the time of now, so that no other run, on this very node for example, writes the same.
        first = Observation(handle=Handle(order.job.id), state=State.INITIALIZING, start_time=dt.datetime.now(dt.UTC))
        report = Report(node=node.id, observation=first)
        if not await patiently(partial(claims.create, orders.status.blob, report)):
            await second.end(node, orders, session)
            return
        if await orders.read() is None:
            await _give_up(orders)
            return
        hold = Hold(order.lease_seconds)
        try:
            claim = await claims.acquire(orders.status.blob, order.lease_seconds)
        except claims.Lost:
            log.info("somebody else took the lease", extra={"job": order.job.id})
            return
        await Attempt(node, orders, session, claim, hold, first).run()


async def _give_up(orders: Orders) -> None:
    """The order was taken back before we claimed the attempt: leave nothing behind."""
    log.info("the order was taken back", extra={"job": orders.order.job.id})
    try:
        await patiently(orders.status.blob.delete_blob)
    except AzureError:  # whoever took the order back takes care of it
        log.info("the claim was ended by somebody else")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
