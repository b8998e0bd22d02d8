"""A Batch account: its pools and jobs, each known by its id in whatever case, and what it may have of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tesgw_batch import sizes
from tesgw_batch.fake_batch.jobs import Job
from tesgw_batch.fake_batch.nodes import Node
from tesgw_batch.fake_batch.pools import Pool
from tesgw_batch.fake_batch.problems import absent, conflict
from tesgw_batch.fake_batch.wire import Wire
from tesgw_batch.fake_batch.world import World

SIZES = {size.name: size for size in sizes.catalogue()}


class Account:
    def __init__(self, world: World) -> None:
        self.world = world
        self._pools: dict[str, Pool] = {}
        self._jobs: dict[str, Job] = {}

    def pools(self) -> list[Pool]:
        return list(self._pools.values())

    def jobs(self) -> list[Job]:
        return list(self._jobs.values())

    def pool(self, pool_id: str) -> Pool:
        pool = self._pools.get(pool_id.lower())
        if pool is None:
            raise absent("Pool")
        return pool

    def job(self, job_id: str) -> Job:
        job = self._jobs.get(job_id.lower())
        if job is None:
            raise absent("Job")
        return job

    def add_pool(self, spec: Wire) -> Pool:
        key = spec["id"].lower()
        if key in self._pools:
            raise conflict("PoolExists", "The specified pool already exists.")
        if len(self._pools) >= self.world.quotas.pools:
            raise conflict("PoolQuotaReached", "The specified account has reached its quota of pools.")
        pool = Pool(self.world, spec, lambda: self._jobs_on(key), self._grant)
        self._pools[key] = pool
        pool.open()
        return pool

    def delete_pool(self, pool_id: str) -> None:
        """What it takes is done beside."""
        pool = self.pool(pool_id)
        pool.check_active()
        self.world.spawn(self._delete_pool(pool))

    def add_job(self, spec: Wire) -> Job:
        key = spec["id"].lower()
        if job := self._jobs.get(key):
            if job.state == "deleting":
                job.check_open()
            raise conflict("JobExists", "The specified job already exists.")
        if sum(job.is_open for job in self._jobs.values()) >= self.world.quotas.active_jobs:
            text = "The specified account has reached its quota of active jobs and job schedules."
            raise conflict("ActiveJobAndScheduleQuotaReached", text)
        job = Job(self.world, spec, lambda: self._schedule(key))
        self._jobs[key] = job
        job.open()
        return job

    def delete_job(self, job_id: str) -> None:
        """What it takes is done beside."""
        job = self.job(job_id)
        if job.state == "deleting":
            job.check_open()
        self.world.spawn(self._delete_job(job))

    def find_node(self, node_id: str) -> tuple[Pool, Node]:
        """Raises `Problem` where there is none."""
        for pool in self._pools.values():
            if node := pool.nodes.get(node_id):
                return pool, node
        raise absent("Node")

    async def close(self) -> None:
        """End all machines."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _jobs_on(self, pool_key: str) -> Iterator[Job]:
        jobs = (job for job in self._jobs.values() if job.pool_id.lower() == pool_key)
        return iter(sorted(jobs, key=lambda job: -int(job.wire["priority"])))

    def _schedule(self, job_key: str) -> None:
        if (job := self._jobs.get(job_key)) and (pool := self._pools.get(job.pool_id.lower())):
            pool.schedule()

    async def _delete_pool(self, pool: Pool) -> None:
        await pool.delete()
        del self._pools[pool.id.lower()]

    async def _delete_job(self, job: Job) -> None:
        await job.delete()
        del self._jobs[job.id.lower()]

    def _grant(self, pool: Pool, is_dedicated: bool, wanted: int) -> tuple[int, list[Wire]]:
        """As many nodes as the cores that are left allow."""
        size = SIZES[pool.wire["vmSize"].lower()]
        cores, code, text = min(self._left(size, is_dedicated))
        granted = min(wanted, max(0, cores) // size.vcpus)
        if granted == wanted:
            return granted, []
        return granted, [{"code": code, "message": text, "values": []}]

    def _left(self, size: sizes.VmSize, is_dedicated: bool) -> Iterator[tuple[int, str, str]]:
        quotas = self.world.quotas
        used = {"": 0, size.family: 0}
        for pool in self._pools.values():
            other = SIZES[pool.wire["vmSize"].lower()]
            cores = other.vcpus * sum(node.is_dedicated == is_dedicated and node.is_there for node in pool.nodes.values())
            used[""] += cores
            used[size.family] += cores if other.family == size.family else 0
        if not is_dedicated:
            yield (
                quotas.spot_cores - used[""],
                "AccountSpotCoreQuotaReached",
                "The specified account has reached spot core quota.",
            )
            return
        yield (
            quotas.family_cores.get(size.family, quotas.dedicated_cores) - used[size.family],
            "AccountVMSeriesCoreQuotaReached",
            f"The specified account has reached VM series core quota for {size.family}.",
        )
        yield (
            quotas.dedicated_cores - used[""],
            "AccountCoreQuotaReached",
            "The specified account has reached core quota.",
        )
