"""Pools whose nodes have a managed identity: made through Azure Resource Manager, used as all others."""

from __future__ import annotations

from tesgw_batch.arm import ArmPools
from tesgw_batch.pools import Pools

from tests.plugins.batch.fake_batch.double import ACCOUNT
from tests.plugins.batch.gateway import DEDICATED, plan
from tests.plugins.batch.identity import Identity
from tests.plugins.batch.pools.world import World

GROUP = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/group"
ACCOUNT_ID = f"{GROUP}/providers/Microsoft.Batch/batchAccounts/{ACCOUNT}"
NODES = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"


async def test_a_pool_with_an_identity_is_made_once_and_takes_jobs_like_any_other(world: World) -> None:
    url = await world.double.batch.start_arm()
    arm = ArmPools(ACCOUNT_ID, Identity(), base_url=url, connection_verify=str(world.double.batch.directory / "ca.pem"))
    its = plan(identity=NODES, image="lab.azurecr.io/tesgw")
    pools = Pools(world.batch, arm, its, lambda: world.double.clock.now().timestamp())

    made = await pools.ready(DEDICATED)
    again = Pools(world.batch, arm, its, lambda: world.double.clock.now().timestamp())
    await again.adopt()

    assert (await again.ready(DEDICATED)).id == made.id
    assert await world.pools() == {made.id}
    shown = (await world.double.client.get_pool(made.id)).as_dict()
    assert [each["resourceId"] for each in shown["identity"]["userAssignedIdentities"]] == [NODES]
    [registry] = shown["virtualMachineConfiguration"]["containerConfiguration"]["containerRegistries"]
    assert (registry["registryServer"], registry["identityReference"]["resourceId"]) == ("lab.azurecr.io", NODES)
    assert world.requests["POST /pools"] == 0
