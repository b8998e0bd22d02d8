"""An attempt that this process has claimed: run to its end, or stopped, and in both cases told of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Any

import aiohttp
from azure.core.exceptions import AzureError, ResourceNotFoundError

from tesgw import Observation, State
from tesgw.loops import every
from tesgw.runner import EngineGone, Registry, Runner, World, discard
from tesgw.states import TERMINAL
from tesgw_batch.claims import Claim, Lost
from tesgw_batch.documents import Report, Secrets, decode
from tesgw_batch.node import words
from tesgw_batch.node.hold import Hold, conclude
from tesgw_batch.node.node import Node
from tesgw_batch.node.orders import REFRESH_SECONDS, Orders
from tesgw_batch.node.reports import Reports
from tesgw_batch.node.storage import Document, patiently
from tesgw_batch.node.world import open_world

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0


class Attempt:
    """`run` runs the job and writes its terminal report once nothing of it is left on the node.

    It stops the executors instead when the lease is lost or in danger, and when it is told to go. A heartbeat file lasts as
    long as there may be containers: when it grows old, the guard removes them.
    """

    def __init__(
        self, node: Node, orders: Orders, session: aiohttp.ClientSession, claim: Claim, hold: Hold, first: Observation
    ) -> None:
        self._node = node
        self._orders = orders
        self._session = session
        self._claim = claim
        self._hold = hold
        self._job = orders.order.job
        self._heartbeat = node.heartbeat(self._job.id)
        self._first = first
        self._runner: Runner | None = None
        self._reports = Reports(claim, node.id, self._observe)
        self._world: World | None = None
        self._is_told_to_go = asyncio.Event()

    async def run(self) -> None:
        """Returns when everything is said, and the lease given back. Raises `EngineGone` if containers may be left."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._is_told_to_go.set)
        async with background(self._hold.keep(self._claim)) as [holding]:
            async with contextlib.AsyncExitStack() as stack:
                failure = await self._work_until(holding, stack)
                is_tidy = await self._tidy()
            if is_tidy:
                self._heartbeat.unlink(missing_ok=True)
            last = self._last_word(failure, holding)
            await (self._conclude(last) if last else self._yield())
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    async def _work_until(self, holding: asyncio.Task[Any], stack: contextlib.AsyncExitStack) -> BaseException | None:
        """Work to the end, or until that must not go on; what the work failed with."""
        told = self._is_told_to_go.wait()
        refresh = partial(self._orders.refresh, REFRESH_SECONDS / 2)
        async with background(self._work(stack), told, self._reports.run(), every(REFRESH_SECONDS, refresh)) as tasks:
            work, going, *_ = tasks
            await asyncio.wait([work, going, holding], return_when=asyncio.FIRST_COMPLETED)
        if work.cancelled() or not (failure := work.exception()):
            return None
        log.error("work failed", exc_info=failure)
        return failure

    async def _work(self, stack: contextlib.AsyncExitStack) -> None:
        """Run the job. What outlives this goes onto the stack."""
        self._node.check()
        registry = await self._registry()
        self._heartbeat.touch()
        await stack.enter_async_context(background(self._beat()))
        world = await stack.enter_async_context(open_world(self._node, self._orders, self._session, registry))
        self._world = world
        self._runner = Runner(self._job, world, self._reports.changed)
        await self._runner.run()

    async def _registry(self) -> Registry | None:
        """The private registry, from the document that nobody is to read after us."""
        url = self._orders.order.secrets_url
        if not url:
            return None
        document = Document(url, self._session)
        secrets = decode(await patiently(document.load), Secrets)
        with contextlib.suppress(ResourceNotFoundError):
            await patiently(document.blob.delete_blob)
        if not secrets.registry_url:
            return None
        return Registry(secrets.registry_url, secrets.registry_username, secrets.registry_password)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                self._heartbeat.touch()
            except OSError as error:
                log.warning("no heartbeat", extra={"error": error})

    async def _tidy(self) -> bool:
        """Remove what the job has here, whatever it does. False if the guard has to see to it."""
        if self._world:
            try:
                await discard(self._world, self._job.id)
            except Exception as error:  # whatever it is: the guard will try as well, and the attempt has to end
                if isinstance(error, EngineGone) and self._observe().state not in TERMINAL:
                    raise  # something may run: the lease has to end by itself
                log.exception("something may be left of the job")
                return False
        return True

    def _last_word(self, failure: BaseException | None, holding: asyncio.Task[Any]) -> Observation | None:
        """How the attempt ended, or None if somebody else wants to say that."""
        last = self._observe()
        if last.state in TERMINAL:
            return last
        if failure:
            return words.failed(last, self._node.id, failure)
        if not holding.done():
            return words.told_to_go(last, self._node.id)
        return None if self._hold.is_lost else words.cut_off(last, self._node.id)

    async def _conclude(self, last: Observation) -> None:
        try:
            await conclude(self._claim, Report(node=self._node.id, observation=last))
        except Lost:
            log.warning("somebody else ended the attempt", extra={"job": self._job.id, "state": last.state})
        await self._release()

    async def _yield(self) -> None:
        """Leave the attempt to whoever broke the lease, with all that was seen of it."""
        log.warning("somebody else wants to end the attempt", extra={"job": self._job.id})
        with contextlib.suppress(Lost, AzureError):
            await self._claim.write(Report(node=self._node.id, observation=self._observe()))
        await self._release()

    async def _release(self) -> None:
        with contextlib.suppress(AzureError):  # it ends by itself
            await self._claim.release()

    def _observe(self) -> Observation:
        seen = self._runner.observe() if self._runner else self._first
        return self._first if seen.state is State.QUEUED else seen


@contextlib.asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Tasks that are cancelled at the end of the block, and have ended then."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
