"""The jobs of one gateway on Azure Batch. START HERE: `submit` makes a job durable, loops do the rest, `observe` tells.

A job's order lies in blob storage once `submit` returns. One loop gives orders to Batch, another reads what runners say in
their status documents, and a third asks Batch how its pools and tasks are (`Dispatch`), for those whose runner says nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from azure.batch import models
from azure.core.exceptions import AzureError
from azure.storage.blob.aio import BlobClient

from tesgw import BackendContext, BackendError, BackendRefused, Handle, Job, Observation, Resources, State
from tesgw.loops import every
from tesgw_batch import claims, mapping, sizes
from tesgw_batch.archive import Archive, Label
from tesgw_batch.dispatch import Dispatch, Jobs
from tesgw_batch.documents import ENDS, ORDERS, SECRETS, STATUS, Order, Report, Secrets, decode
from tesgw_batch.entry import Entry
from tesgw_batch.mapping import Need, Plan
from tesgw_batch.signing import Signer

log = logging.getLogger(__name__)

ADD_SECONDS = 5.0
GATHER_SECONDS = 0.2
WATCH_SECONDS = 2.0
LOOK_SECONDS = 10.0
RENEW_SECONDS = 3600.0
READS_AT_ONCE = 16

Tick = Callable[[], Awaitable[None]]
Dispatching = Callable[[Jobs], Dispatch]
TAKE_SECONDS = 15  # the shortest there is


class Fleet:
    """All jobs of one Batch backend."""

    def __init__(self, ctx: BackendContext, plan: Plan, archive: Archive, signer: Signer, dispatching: Dispatching) -> None:
        self.entries: dict[str, Entry] = {}
        self._ctx = ctx
        self._plan = plan
        self._archive = archive
        self._signer = signer
        self._dispatch = dispatching(self)
        self._news = asyncio.Event()
        self._trouble = ""
        """Why Batch takes no job at all now."""

    async def open(self) -> None:
        """Take up the jobs that lie in storage, and start the loops."""
        await self._archive.open()
        for job_id, label in (await self._archive.orders()).items():
            self.entries[job_id] = Entry(job_id, label)
        await self._watch()
        self._start("add", ADD_SECONDS, self._asking(self._gathered), wake=self._news)
        self._start("look", LOOK_SECONDS, self._asking(self._dispatch.look))
        self._start("watch", WATCH_SECONDS, self._watch)
        self._start("renew", RENEW_SECONDS, self._renew)

    async def submit(self, job: Job) -> Handle:
        """Take the job; BackendRefused if it can never run here."""
        handle = Handle(job.id)
        if job.id in self.entries:
            return handle
        label = Label(mapping.need_of(job, self._plan), mapping.display_name(job.name, job.tags), time.time())
        # Known before it is written: a write whose answer is lost may have arrived, and a poll must not miss it.
        entry = self.entries[job.id] = Entry(job.id, label, is_written=False)
        try:
            await self._put_secrets(job.id)
            await self._archive.put(await self._order(job), label)
        except BaseException:
            self.entries.pop(job.id, None)
            raise
        entry.is_written = True
        if entry.is_over:  # cancelled meanwhile: what was just written must not outlive the job
            await self._archive.delete(job.id)
        self._news.set()
        self._ctx.changed(handle)  # the reason why it waits is news
        self._release_earlier_attempts(job.id)
        return handle

    def observe(self, handle: Handle) -> Observation:
        """How the job is, from memory."""
        entry = self.entries.get(handle.job_id)
        if entry is None:
            return Observation(handle=handle, state=State.UNKNOWN)
        facts = mapping.metadata(entry.label.need)
        if entry.report is None:
            state = State.INITIALIZING if entry.has_begun else State.QUEUED
            return Observation(handle=handle, state=state, reason=self._reason(entry), metadata=facts)
        if entry.report.node:
            facts["node"] = entry.report.node
        return dataclasses.replace(entry.report.observation, handle=handle, metadata=facts)

    async def cancel(self, handle: Handle) -> None:
        """End the job in the background, or forget it if it has ended."""
        entry = self.entries.get(handle.job_id)
        if entry and not entry.is_over:
            self.end(entry, State.CANCELED, "Canceled.")
            return
        if entry and entry.report and entry.report.observation.state is State.CANCELED:  # which may have been cut off
            await self._dispatch.withdraw(entry)
        await self._archive.delete(handle.job_id)  # also of a job that is not known: its submit may have been cut off
        self.entries.pop(handle.job_id, None)

    async def options(self, entry: Entry) -> models.BatchTaskCreateOptions:
        """The Batch task of a job."""
        url = await self._signed(ORDERS + entry.job_id, "r")
        return mapping.task_options(entry.job_id, entry.label.shown, url, self._plan.image)

    def end(self, entry: Entry, state: State, reason: str) -> None:
        """Write the last word on a job, in the background; what runs of it is stopped first."""
        if not entry.is_ending and not entry.is_over:
            entry.is_ending = True
            self._ctx.spawn(self._end(entry, state, reason), name=f"end {entry.job_id}")

    async def reread(self, entry: Entry) -> None:
        """Look at the job's status document at once."""
        try:
            self._take(entry, await self._archive.report(entry.job_id))
        except msgspec.DecodeError:
            log.error("status document cannot be read", extra={"job": entry.job_id})

    async def warm(self, vm_size: str, *, is_spot: bool) -> None:
        """Have the pool that tasks of this size will run in. BackendRefused for a size that there is not."""
        resources = Resources(backend_parameters={"vm_size": vm_size})
        size = sizes.choose(resources, spot=is_spot, allowed=self._plan.sizes)
        await self._dispatch.warm(Need(size.name, is_spot))

    def _reason(self, entry: Entry) -> str:
        if entry.has_begun:
            return "The node is getting the runner's image."
        return self._trouble or self._dispatch.reason(entry.label.need)

    def _release_earlier_attempts(self, job_id: str) -> None:
        """Those that a gateway which was killed could not let go of."""
        task, _, attempt = job_id.rpartition("-")
        for earlier in (f"{task}-{number}" for number in range(1, int(attempt))):
            self._ctx.spawn(self.cancel(Handle(earlier)), name=f"release {earlier}")

    async def _put_secrets(self, job_id: str) -> None:
        """Before the order that tells of them."""
        url, username, password = self._plan.registry
        if url:
            secrets = Secrets(registry_url=url, registry_username=username, registry_password=password)
            await self._archive.put_secrets(job_id, secrets)

    async def _order(self, job: Job) -> Order:
        """The job's order, everything signed."""
        has_secrets = bool(self._plan.registry[0])
        return Order(
            job=job,
            order_url=await self._signed(ORDERS + job.id, "r"),
            status_url=await self._signed(STATUS + job.id, "rcwd"),
            secrets_url=await self._signed(SECRETS + job.id, "rd") if has_secrets else "",
            signed=await self._signer.signed(job),
            network=self._ctx.settings["BATCH_NETWORK"],
            lease_seconds=self._plan.lease_seconds,
        )

    async def _signed(self, name: str, permissions: str) -> str:
        return await self._signer.sign(self._archive.container, name, permissions)

    def _start(
        self, name: str, seconds: float, tick: Callable[[], Awaitable[None]], wake: asyncio.Event | None = None
    ) -> None:
        async def turn() -> None:
            try:
                await tick()
            except BackendError as error:
                log.warning("turn put off", extra={"loop": name, "cause": str(error)})

        self._ctx.spawn(every(seconds, turn, wake=wake), name=f"batch {name}")

    def _asking(self, tick: Tick) -> Tick:
        """A turn that tells waiting tasks if Batch does not answer."""

        async def turn() -> None:
            try:
                await tick()
            except BackendError as error:
                self._trouble = f"Waiting. {error}"
                raise
            self._trouble = ""

        return turn

    async def _gathered(self) -> None:
        """Add what comes together with one call."""
        await asyncio.sleep(GATHER_SECONDS)
        await self._dispatch.add()

    async def _watch(self) -> None:
        """Read the status documents that have changed."""
        slots = asyncio.Semaphore(READS_AT_ONCE)

        async def read(entry: Entry, etag: str) -> None:
            async with slots:
                await self.reread(entry)
                entry.etag = etag

        signs = await self._archive.etags()
        found = ((self.entries.get(job_id), sign) for job_id, sign in signs.items())
        known = [(entry, sign) for entry, sign in found if entry and not entry.is_over]
        for entry, sign in known:
            entry.silent_since = (entry.silent_since or time.monotonic()) if sign.is_expired else None
        changed = [(entry, sign.etag) for entry, sign in known if entry.etag != sign.etag]
        failures = await asyncio.gather(*(read(entry, etag) for entry, etag in changed), return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure

    def _take(self, entry: Entry, report: Report | None) -> None:
        if report and report != entry.report and not entry.is_over:
            entry.report = report
            self._ctx.changed(Handle(entry.job_id))

    async def _end(self, entry: Entry, state: State, reason: str) -> None:
        try:
            report = await self._last_word(entry, state, reason)
            self._take(entry, report)
            await self._dispatch.withdraw(entry)
            # Nobody has to be told of this one after a restart: a cancelled job may be unknown.
            if report.observation.state is State.CANCELED:
                await self._archive.delete(entry.job_id)
        except (AzureError, BackendError, claims.Lost) as error:
            log.warning("end put off", extra={"job": entry.job_id, "cause": str(error) or "no document"})
        finally:
            entry.is_ending = False

    async def _last_word(self, entry: Entry, state: State, reason: str) -> Report:
        """The status document as it will stay: this, unless the runner ended it sooner."""
        blob = self._archive.status(entry.job_id)
        begun = entry.report or Report(observation=Observation(handle=Handle(entry.job_id), state=State.QUEUED))
        if await claims.create(blob, ended := _closed(begun, state, reason)):
            return ended
        claim = await claims.take(blob, TAKE_SECONDS)
        try:
            current = await _read(blob, begun)
            if current.observation.state not in ENDS:
                current = _closed(current, state, reason)
                await claim.write(current)
        finally:
            await claim.release()
        return current

    async def _renew(self) -> None:
        """Sign anew what is signed for less than half its time still."""
        oldest = time.time() - self._signer.lifetime_seconds / 2
        for entry in list(self.entries.values()):
            if not entry.is_over and entry.is_written and entry.label.signed_at < oldest:
                try:
                    await self._renew_one(entry)
                except (BackendRefused, msgspec.DecodeError) as error:  # the others have to be renewed all the same
                    log.error("order cannot be renewed", extra={"job": entry.job_id, "cause": str(error)})

    async def _renew_one(self, entry: Entry) -> None:
        document = await self._archive.order(entry.job_id)
        if document is None:
            return
        job = decode(document, Order).job
        await self._dispatch.renew(entry)  # before the label says that all is renewed: cut off here, it is done again
        label = dataclasses.replace(entry.label, signed_at=time.time())
        if entry.report is None:
            await self._put_secrets(job.id)  # the runner that claimed the job has deleted them
        await self._archive.put(await self._order(job), label)
        entry.label = label
        if entry.job_id not in self.entries:  # released meanwhile: what was just written must not outlive the job
            await self._archive.delete(entry.job_id)


async def _read(blob: BlobClient, otherwise: Report) -> Report:
    try:
        return await claims.read(blob)
    except msgspec.DecodeError:
        return otherwise


def _closed(report: Report, state: State, reason: str) -> Report:
    """The last word on a job whose runner did not get to say it."""
    last = report.observation
    now = datetime.now(UTC)
    if state is State.PREEMPTED:  # the scheduler tells the reason, once it tries again
        ended = dataclasses.replace(last, state=state, end_time=now, reason=reason)
    else:
        ended = dataclasses.replace(last, state=state, end_time=now, reason="", system_logs=(*last.system_logs, reason))
    return dataclasses.replace(report, observation=ended)
