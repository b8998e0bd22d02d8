"""An account with gateways that come and go."""

from __future__ import annotations

from collections.abc import Mapping

from tesgw_batch.client import Batch
from tesgw_batch.mapping import Plan
from tesgw_batch.pools import Pool, Pools

from tests.plugins.batch.fake_batch.double import Double, until
from tests.plugins.batch.gateway import PLAN

DAY = 86_400
RESCALE = "POST /pools/{poolId}/enableautoscale"
NEVER = 1e9


class World:
    """An account, and gateways that come and go."""

    def __init__(self, double: Double, batch: Batch) -> None:
        self.double = double
        self.batch = batch
        self.requests = double.batch.requests

    def gateway(self, its: Plan = PLAN) -> Pools:
        return Pools(self.batch, None, its, lambda: self.double.clock.now().timestamp())

    async def restarted(self, its: Plan = PLAN) -> Pools:
        pools = self.gateway(its)
        await pools.adopt()
        return pools

    async def pools(self) -> set[str]:
        return {each.id async for each in self.double.client.list_pools() if each.state != "deleting"}

    async def jobs(self) -> set[str]:
        return {each.id async for each in self.double.client.list_jobs() if each.state == "active"}

    async def until_gone(self, pool_id: str) -> None:
        async def is_gone() -> bool:
            return pool_id not in [each.id async for each in self.double.client.list_pools()]

        await until(is_gone)


def busy(*pools: Pool) -> set[str]:
    return {pool.job_id for pool in pools}


async def lived(pools: Pools, wanted: Mapping[str, int] | None = None, busy: set[str] | None = None) -> None:
    await pools.look(wanted or {})
    await pools.tidy(busy or set())
