"""What Azure Batch is asked: to take jobs, many at once, and how pools and tasks are, for jobs whose runner is silent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from azure.batch import models

from tesgw import State
from tesgw_batch import mapping
from tesgw_batch.client import COLLECTION, Batch, Refused
from tesgw_batch.entry import Entry
from tesgw_batch.mapping import Need
from tesgw_batch.pools import Pools

log = logging.getLogger(__name__)

RECOUNT_SECONDS = 600.0
OVERLAP = timedelta(minutes=1)
# The job or its pool is on its way out: another one has to be made.
_GONE = (
    "JobNotFound",
    "JobCompleted",
    "JobBeingTerminated",
    "JobBeingDeleted",
    "PoolNotFound",
    "PoolBeingDeleted",
)
# These pass when others give something back, or when Azure raises a quota.
_SCARCE = ("Quota", "LimitReached")


class Jobs(Protocol):
    """What dispatching needs of the fleet."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """By job id."""

    async def options(self, entry: Entry) -> models.BatchTaskCreateOptions:
        """The Batch task of a job."""

    def end(self, entry: Entry, state: State, reason: str) -> None:
        """Write the last word on a job, in the background; what runs of it is stopped first."""

    async def reread(self, entry: Entry) -> None:
        """Look at the job's status document at once."""


class Dispatch:
    """`add` and `look` are turns of loops: they raise as `Batch` does, and do what is left the next time."""

    def __init__(self, jobs: Jobs, batch: Batch, pools: Pools) -> None:
        self._jobs = jobs
        self._batch = batch
        self._pools = pools
        self._troubles: dict[Need, str] = {}
        self._since: dict[str, datetime] = {}
        self._counted_at = -RECOUNT_SECONDS
        self._adopting = asyncio.Lock()
        self._is_adopted = False

    def reason(self, need: Need) -> str:
        """Why a job with this need waits."""
        return self._troubles.get(need) or self._pools.reason(need)

    async def add(self) -> None:
        """Give Batch the jobs that it does not have yet, those of one pool together."""
        await self._adopt()
        wanting: dict[Need, list[Entry]] = defaultdict(list)
        for entry in self._jobs.entries.values():
            if entry.is_written and not (entry.batch_job or entry.is_over or entry.is_ending):
                wanting[entry.label.need].append(entry)
        for need, entries in wanting.items():
            for start in range(0, len(entries), COLLECTION):
                await self._add_some(need, entries[start : start + COLLECTION], len(entries))

    async def look(self) -> None:
        """Ask Batch for what has changed, and deal with jobs whose runner will not do so."""
        if not self._is_adopted:
            return
        claimed = {entry.job_id for entry in self._open() if entry.report}
        gone = await self._pools.look(self._wanted())
        for entry in self._open():
            if entry.batch_job in gone:
                self._lose(entry)
        busy = {entry.batch_job for entry in self._jobs.entries.values()} - {""}
        await self._ask_tasks(busy)
        for entry in list(self._open()):
            await self._judge(entry, was_claimed=entry.job_id in claimed)
        await self._pools.tidy(busy)

    async def withdraw(self, entry: Entry) -> None:
        """Take an ended job's Batch task away, so that no node is kept for it."""
        if entry.batch_job and not (entry.task and entry.task.state == "completed"):
            await self._batch.delete_task(entry.batch_job, entry.job_id)
            entry.batch_job = ""

    async def renew(self, entry: Entry) -> None:
        """Have a job that still waits added again, with URLs that are signed anew."""
        await self._adopt()  # an earlier gateway may have added it
        if entry.batch_job and not entry.has_begun and not entry.report:
            await self._batch.delete_task(entry.batch_job, entry.job_id)
            entry.batch_job = ""

    async def warm(self, need: Need) -> None:
        """Have the pool that jobs with this need will run in."""
        await self._adopt()
        await self._pools.ready(need)

    async def _adopt(self) -> None:
        """Before anything is made or added: find what an earlier gateway left."""
        async with self._adopting:
            if not self._is_adopted:
                await self._pools.adopt()
                await self._ask_tasks(self._pools.job_ids)
                self._is_adopted = True

    def _open(self) -> Iterator[Entry]:
        return (entry for entry in self._jobs.entries.values() if not entry.is_over)

    def _wanted(self) -> Counter[str]:
        """How many jobs want a node of each pool."""
        return Counter(self._pools.pool_of(entry.batch_job) for entry in self._open() if entry.batch_job)

    async def _add_some(self, need: Need, entries: Sequence[Entry], of: int) -> None:
        try:
            pool = await self._pools.ready(need, of)
            job_id = pool.job_id
            outcomes = await self._batch.add(job_id, [await self._jobs.options(entry) for entry in entries])
        except Refused as error:
            self._not_added(need, entries, error)
            return
        self._troubles.pop(need, None)
        self._pools.added(pool, len(outcomes))
        for entry in entries:
            if refusal := outcomes.get(entry.job_id):
                self._jobs.end(entry, State.SYSTEM_ERROR, str(refusal))
            elif entry.job_id in outcomes:
                entry.batch_job = job_id
                if entry.is_over:  # cancelled meanwhile
                    await self.withdraw(entry)
        await self._pools.nudge(pool, self._wanted()[pool.id])

    def _not_added(self, need: Need, entries: Sequence[Entry], error: Refused) -> None:
        if error.code in _GONE:
            log.warning("job or pool is gone", extra={"need": str(need), "cause": str(error)})
            self._pools.forget(need, error.code)
        elif any(word in error.code for word in _SCARCE):
            self._troubles[need] = f"Waiting for {need}: {error}"
        else:
            for entry in entries:
                self._jobs.end(entry, State.SYSTEM_ERROR, str(error))

    async def _ask_tasks(self, job_ids: Collection[str]) -> None:
        """Note how the tasks of these jobs are: what has changed, and now and then all, for deleted ones are in no list."""
        has_silent = any(entry.is_silent for entry in self._open())
        is_recount = has_silent or time.monotonic() - self._counted_at > RECOUNT_SECONDS
        for job_id in job_ids:
            there = [entry for entry in self._open() if entry.batch_job == job_id]
            tasks = await self._batch.tasks(job_id, None if is_recount else self._changed_since(job_id))
            for task in tasks or ():
                self._note(job_id, task)
                await self._withdraw_orphan(job_id, task)
            if is_recount or tasks is None:
                found = {task.id.lower() for task in tasks or () if task.id}
                for entry in there:
                    if entry.job_id.lower() not in found:
                        self._lose(entry)
        if is_recount:
            self._counted_at = time.monotonic()

    def _changed_since(self, job_id: str) -> datetime | None:
        """The latest change that was seen, or some time ago: Batch may show a change after a later one."""
        latest = self._since.get(job_id)
        return latest and min(latest, datetime.now(UTC) - OVERLAP)

    def _note(self, job_id: str, task: models.BatchTask) -> None:
        if task.state_transition_time:
            self._since[job_id] = max(self._since.get(job_id, task.state_transition_time), task.state_transition_time)
        if entry := self._jobs.entries.get(task.id or ""):
            entry.batch_job, entry.task = job_id, task
            entry.has_begun = entry.has_begun or task.state in ("preparing", "running")

    async def _withdraw_orphan(self, job_id: str, task: models.BatchTask) -> None:
        """Take a Batch task away whose job ended while it waited: a gateway that was killed could not."""
        entry = self._jobs.entries.get(task.id or "")
        if task.id and task.state == "active" and (entry is None or entry.is_over):
            await self._batch.delete_task(job_id, task.id)

    def _lose(self, entry: Entry) -> None:
        """Somebody deleted its Batch task, or ended or deleted all of the job or pool."""
        entry.batch_job, entry.task = "", None
        if entry.report and not entry.is_ending:
            self._jobs.end(entry, State.SYSTEM_ERROR, "Somebody deleted the task, its job or its pool in the Batch account.")

    async def _judge(self, entry: Entry, *, was_claimed: bool) -> None:
        """A task that ended says so itself, and one that has begun does not go back: else the runner is gone."""
        if entry.task is None or entry.is_ending:
            return
        node = entry.report.node if entry.report else ""
        if entry.task.state == "completed":
            await self._jobs.reread(entry)
            if not entry.is_over:
                stderr = await self._batch.stderr(entry.batch_job, entry.job_id)
                self._jobs.end(entry, State.SYSTEM_ERROR, mapping.failure(entry.task, stderr))
        elif entry.task.state == "active" and was_claimed:
            self._jobs.end(entry, State.PREEMPTED, f"The node {node} was preempted or lost.")
        elif entry.is_silent:
            reason = f"The runner on the node {node} shows no sign of life: it hangs, or its node is gone."
            self._jobs.end(entry, State.PREEMPTED, reason)
