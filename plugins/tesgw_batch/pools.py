"""The pools of one gateway and the long-lived jobs in them: made when needed, found again, replaced, deleted when idle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from azure.batch import models

from tesgw_batch.autoscale import formula
from tesgw_batch.client import Batch, Refused
from tesgw_batch.mapping import Need, Plan, job_prefix, need_in, pool_id, pool_options, waiting

if TYPE_CHECKING:
    from tesgw_batch.arm import ArmPools

log = logging.getLogger(__name__)

POOL_DAYS = 7
IDLE_SECONDS = 1800.0
JOB_TASKS = 10_000
JOB_SECONDS = 86_400.0
NUDGE_SECONDS = 31.0  # Batch refuses to enable automatic scaling again within 30 s
FLOOR_MINUTES = 10  # two evaluations
REPLACE_SECONDS = 300.0


@dataclass(slots=True)
class Pool:
    """A pool as far as this gateway knows it. Times are those of the clock."""

    id: str
    need: Need
    made_at: float
    used_at: float
    reason: str
    job_id: str = ""
    """The job that takes new tasks; empty: the next one will be made."""
    next_job_id: str = ""
    """The job that is being made: one whose making was not answered is there perhaps, and is asked for again."""
    job_made_at: float = 0.0
    job_tasks: int = 0
    nodes: int = 0
    nudged_at: float = 0.0
    replaced_at: float = 0.0
    failure: str = ""
    """Why nodes could not be set up, until one is."""


class Pools:
    """Coroutines may call it side by side: each change waits for the one before."""

    def __init__(self, batch: Batch, arm: ArmPools | None, plan: Plan, clock: Callable[[], float]) -> None:
        self._batch = batch
        self._arm = arm
        self._plan = plan
        self._clock = clock
        self._lock = asyncio.Lock()
        self._pools: dict[str, Pool] = {}
        self._names: dict[Need, str] = {}
        """Of pools that are being made, likewise."""
        self._jobs: dict[str, str] = {}
        """By job id: the pool's. All that may hold tasks of ours."""

    @property
    def job_ids(self) -> Collection[str]:
        return tuple(self._jobs)

    def reason(self, need: Need) -> str:
        """Why a task with this need waits."""
        pool = self._current(need)
        return pool.reason if pool else waiting(need, None, None)

    async def adopt(self) -> None:
        """Find the pools and jobs that an earlier gateway made."""
        now = self._clock()
        for found in await self._batch.pools(self._plan.prefix):
            if need := need_in(found):
                made_at = found.creation_time.timestamp() if found.creation_time else now
                self._pools[found.id] = Pool(found.id, need, made_at, now, waiting(need, found, None))
        for job in await self._batch.jobs(self._plan.prefix):
            home = job.pool_info.pool_id or ""
            self._jobs[job.id] = home
            if home.startswith(self._plan.prefix) and home not in self._pools:
                continue  # one of ours that was deleted: `look` tells
            pool = self._pools.get(home) or self._named(home)
            made_at = job.creation_time.timestamp() if job.creation_time else now
            if made_at > pool.job_made_at:
                pool.job_id, pool.job_made_at = job.id, made_at

    async def ready(self, need: Need, count: int = 1) -> Pool:
        """The pool for this need, with a job that takes tasks; a new one begins with `count` nodes. Raises as `Batch`."""
        async with self._lock:
            pool = self._current(need) or await self._make(need, count)
            pool.used_at = self._clock()
            if not pool.job_id or pool.job_tasks >= JOB_TASKS or pool.used_at - pool.job_made_at > JOB_SECONDS:
                await self._make_job(pool)
            return pool

    def added(self, pool: Pool, count: int) -> None:
        """So many tasks were added to the pool's job."""
        pool.job_tasks += count
        pool.used_at = self._clock()

    def forget(self, need: Need, code: str) -> None:
        """Batch says with this code that the job or the pool for this need is gone: another one has to be made."""
        if pool := self._current(need):
            pool.job_id = pool.next_job_id = ""
            if code.startswith("Pool") and not need.pool_id:
                del self._pools[pool.id]

    async def nudge(self, pool: Pool, count: int) -> None:
        """Have a pool with fewer nodes than tasks, which are `count`, grow at once: Batch looks every five minutes only."""
        now = self._clock()
        has_enough = min(count, self._plan.most(pool.need)) <= pool.nodes
        if pool.need.pool_id or has_enough or now - pool.nudged_at < NUDGE_SECONDS:
            return
        pool.nudged_at = now
        try:
            await self._batch.rescale(pool.id, self._formula(pool.need, count))
        except Refused as error:  # deleted or being resized: the next look tells
            log.warning("pool not rescaled", extra={"pool": pool.id, "cause": str(error)})

    async def look(self, wanted: Mapping[str, int]) -> set[str]:
        """See how the pools are; `wanted` counts the open tasks in each. Returns the jobs that run nothing any more."""
        async with self._lock:
            return await self._look(wanted)

    async def _look(self, wanted: Mapping[str, int]) -> set[str]:
        shown = {pool.id: pool for pool in await self._batch.pools(self._plan.prefix)}
        counts = {count.pool_id: count for count in await self._batch.node_counts()}
        jobs = {job.id for job in await self._batch.jobs(self._plan.prefix)}
        for pool in [pool for pool in self._pools.values() if pool.id not in shown and not pool.need.pool_id]:
            log.warning("pool is gone", extra={"pool": pool.id})
            del self._pools[pool.id]
        for pool in list(self._pools.values()):
            if pool.job_id not in jobs:
                pool.job_id = ""
            await self._replace_failed(pool, counts.get(pool.id))
            pool.reason = f"{waiting(pool.need, shown.get(pool.id), counts.get(pool.id))} {pool.failure}".rstrip()
            pool.nodes = _nodes(shown.get(pool.id))
            await self.nudge(pool, wanted.get(pool.id, 0))
        return {job_id for job_id, home in self._jobs.items() if home not in self._pools or job_id not in jobs}

    async def tidy(self, busy: Collection[str]) -> None:
        """Delete jobs that take no new tasks and pools that are old or idle, but for the `busy` jobs, which have tasks."""
        async with self._lock:
            await self._tidy(busy)

    async def _tidy(self, busy: Collection[str]) -> None:
        now = self._clock()
        taking = {pool.job_id for pool in self._pools.values()}
        for job_id in [job_id for job_id in self._jobs if job_id not in busy and job_id not in taking]:
            await self._delete_job(job_id)
        for pool in list(self._pools.values()):
            if any(self._jobs.get(job_id) == pool.id for job_id in busy):
                pool.used_at = now
            elif self._is_finished(pool, now):
                await self._delete(pool)

    def pool_of(self, job_id: str) -> str:
        return self._jobs.get(job_id, "")

    def _current(self, need: Need) -> Pool | None:
        """The youngest that fits; an old one gets no new tasks."""
        fitting = [pool for pool in self._pools.values() if pool.need == need and self._is_fresh(pool)]
        return max(fitting, key=lambda pool: pool.made_at, default=None)

    def _is_fresh(self, pool: Pool) -> bool:
        if pool.need.pool_id:
            return True
        is_young = self._clock() - pool.made_at < timedelta(days=POOL_DAYS).total_seconds()
        return is_young and f"-{self._plan.fingerprint}-" in pool.id

    def _is_finished(self, pool: Pool, now: float) -> bool:
        if pool.need.pool_id:
            return False
        is_idle = now - pool.used_at > IDLE_SECONDS and not self._plan.least and not self._plan.keeps_pools
        return is_idle or not self._is_fresh(pool)

    async def _make(self, need: Need, count: int) -> Pool:
        if need.pool_id:
            return self._named(need.pool_id)
        now = self._clock()
        name = self._names.setdefault(need, pool_id(need, self._plan, now))
        options = pool_options(name, need, self._plan, self._formula(need, count))
        if self._arm:
            await self._arm.create(options, self._plan.identity)
        else:
            await self._batch.create_pool(options)
        del self._names[need]
        log.info("pool made", extra={"pool": name})
        pool = self._pools[name] = Pool(name, need, now, now, waiting(need, None, None), nudged_at=now)
        return pool

    def _named(self, name: str) -> Pool:
        """A pool that somebody else looks after."""
        need = Need(pool_id=name)
        return self._pools.setdefault(name, Pool(name, need, self._clock(), self._clock(), waiting(need, None, None)))

    async def _make_job(self, pool: Pool) -> None:
        now = self._clock()
        pool.next_job_id = pool.next_job_id or f"{job_prefix(pool.need, self._plan) or pool.id}-{int(now):x}"
        job_id = pool.next_job_id
        await self._batch.create_job(job_id, pool.id)
        pool.next_job_id = ""
        self._jobs[job_id] = pool.id
        pool.job_id, pool.job_made_at, pool.job_tasks = job_id, now, 0

    async def _delete_job(self, job_id: str) -> None:
        await self._batch.delete_job(job_id)
        del self._jobs[job_id]
        log.info("job deleted", extra={"batch_job": job_id})

    async def _delete(self, pool: Pool) -> None:
        for job_id in [job_id for job_id, home in self._jobs.items() if home == pool.id]:
            await self._delete_job(job_id)
        await self._batch.delete_pool(pool.id)
        del self._pools[pool.id]
        log.info("pool deleted", extra={"pool": pool.id})

    async def _replace_failed(self, pool: Pool, counts: models.BatchPoolNodeCounts | None) -> None:
        """Remove nodes that could not be set up, for Batch does not: the formula asks for others."""
        found = counts and (counts.low_priority if pool.need.is_spot else counts.dedicated)
        if found and found.idle + found.running:
            pool.failure = ""
        if not found or not found.start_task_failed + found.unusable or pool.need.pool_id:
            return
        failed = [
            *await self._batch.nodes(pool.id, "starttaskfailed"),
            *await self._batch.nodes(pool.id, "unusable"),
        ]
        for node in failed[:1]:
            said = await self._batch.start_task_stderr(pool.id, node.id)
            pool.failure = f"{_why(node)} {said and f'({said[-300:]})'}".strip()
        if failed and self._clock() - pool.replaced_at > REPLACE_SECONDS:
            pool.replaced_at = self._clock()
            await self._batch.remove_nodes(pool.id, [node.id for node in failed])

    def _formula(self, need: Need, floor: int) -> str:
        until = datetime.fromtimestamp(self._clock(), UTC) + timedelta(minutes=FLOOR_MINUTES)
        most = self._plan.most(need)
        make = partial(formula, is_spot=need.is_spot, least=min(self._plan.least, most), most=most)
        return make(floor=min(floor, most), until=until)


def _nodes(pool: models.BatchPool | None) -> int:
    """How many it has or is getting."""
    if pool is None:
        return 0
    current = (pool.current_dedicated_nodes or 0) + (pool.current_low_priority_nodes or 0)
    return max(current, (pool.target_dedicated_nodes or 0) + (pool.target_low_priority_nodes or 0))


def _why(node: models.BatchNode) -> str:
    info = node.start_task_info
    if info and info.failure_info:
        code = f" with exit code {info.exit_code}" if info.exit_code is not None else ""
        return f"The start task failed{code}: {info.failure_info.code}: {info.failure_info.message}"
    return "; ".join(f"{error.code}: {error.message}" for error in node.errors or ())
