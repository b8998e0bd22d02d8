"""Pools with managed identities, made through Azure Resource Manager."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.batch import models
from azure.mgmt.batch.aio import BatchManagementClient

from tests.plugins.batch.fake_batch.double import ACCOUNT, SIZE, Double, task, until

SUBSCRIPTION, GROUP = "11111111-2222-3333-4444-555555555555", "group"
IDENTITY = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"
)


class Token:
    """What azure-identity would give."""

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("a token", int(time.time()) + 3600)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Token:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest_asyncio.fixture
async def arm(double: Double) -> AsyncIterator[BatchManagementClient]:
    url = await double.batch.start_arm()
    trusted = {"connection_verify": str(double.batch.directory / "ca.pem")}
    place: Any = {"base_url": url, "credential_scopes": [f"{url}/.default"], "polling_interval": 0, **trusted}
    async with BatchManagementClient(Token(), SUBSCRIPTION, retry_total=0, **place) as client:
        yield client


def pool(identity: str = IDENTITY, **properties: Any) -> models.Pool:
    machine = models.VirtualMachineConfiguration(
        image_reference=models.ImageReference(publisher="microsoft-dsvm", offer="ubuntu-hpc", sku="2404", version="latest"),
        node_agent_sku_id="batch.node.ubuntu 24.04",
        container_configuration=models.ContainerConfiguration(type="DockerCompatible"),
    )
    user = models.UserIdentity(auto_user=models.AutoUserSpecification(scope="Pool", elevation_level="Admin"))
    formula = models.AutoScaleSettings(formula="$TargetDedicatedNodes = 1;", evaluation_interval=timedelta(minutes=5))
    given = {
        "vm_size": SIZE,
        "deployment_configuration": models.DeploymentConfiguration(virtual_machine_configuration=machine),
        "scale_settings": models.ScaleSettings(auto_scale=formula),
        "start_task": models.StartTask(command_line="/bin/true", user_identity=user, wait_for_success=True),
        "metadata": [models.MetadataItem(name="made", value="by ARM")],
        "task_scheduling_policy": models.TaskSchedulingPolicy(node_fill_type="Pack"),
        **properties,
    }
    return models.Pool(
        identity=models.BatchPoolIdentity(
            type="UserAssigned", user_assigned_identities={identity: models.UserAssignedIdentities()}
        ),
        properties=models.PoolProperties(**given),
    )


async def test_a_pool_made_through_arm_is_one_of_the_account(double: Double, arm: BatchManagementClient) -> None:
    made = await arm.pool.create(GROUP, ACCOUNT, "pool", pool())
    assert made.name == "pool"
    assert made.identity
    assert made.identity.user_assigned_identities
    assert list(made.identity.user_assigned_identities) == [IDENTITY]

    await double.until_nodes("idle")
    await double.job()
    await double.add(task())
    await double.until_task("completed")
    found = await double.client.get_pool("pool")
    assert found.identity
    assert [each.resource_id for each in found.identity.user_assigned_identities or ()] == [IDENTITY]
    assert found.metadata
    assert found.metadata[0].value == "by ARM"
    # In the words of the other interface.
    assert found.start_task
    assert found.start_task.user_identity
    assert found.start_task.user_identity.auto_user
    assert found.start_task.user_identity.auto_user["elevationLevel"] == "admin"
    assert found.task_scheduling_policy
    assert found.task_scheduling_policy["nodeFillType"] == "pack"
    assert found["virtualMachineConfiguration"]["nodeAgentSKUId"] == "batch.node.ubuntu 24.04"
    shown = await arm.pool.get(GROUP, ACCOUNT, "pool")
    assert shown.properties
    assert (shown.properties.provisioning_state, shown.properties.current_dedicated_nodes) == ("Succeeded", 1)


async def test_a_pool_is_made_again_only_as_it_is(arm: BatchManagementClient) -> None:
    await arm.pool.create(GROUP, ACCOUNT, "pool", pool(), match_condition=MatchConditions.IfMissing)
    await arm.pool.create(GROUP, ACCOUNT, "pool", pool())

    with pytest.raises(HttpResponseError) as caught:
        await arm.pool.create(GROUP, ACCOUNT, "pool", pool(), match_condition=MatchConditions.IfMissing)
    assert caught.value.status_code == 412
    with pytest.raises(HttpResponseError) as caught:
        await arm.pool.create(GROUP, ACCOUNT, "pool", pool(vm_size="standard_d8ads_v5"))
    assert caught.value.error
    assert (caught.value.status_code, caught.value.error.code) == (409, "PropertyCannotBeUpdated")


async def test_a_pool_is_deleted_and_then_gone(double: Double, arm: BatchManagementClient) -> None:
    await arm.pool.create(GROUP, ACCOUNT, "pool", pool())
    await double.until_nodes("idle")

    deleting = await arm.pool.begin_delete(GROUP, ACCOUNT, "pool")
    await deleting.result()

    with pytest.raises(ResourceNotFoundError):
        await double.client.get_pool("pool")
    await (await arm.pool.begin_delete(GROUP, ACCOUNT, "pool")).result()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (pool("nodes"), "resource id"),
        (pool(vm_size="standard_none"), "VM size"),
        (pool(scale_settings=models.ScaleSettings(auto_scale=models.AutoScaleSettings(formula="oops"))), "formula"),
        (models.Pool({"properties": {"vmSize": SIZE, "colour": "red"}}), "colour"),
    ],
)
async def test_what_the_account_refuses_arm_refuses(arm: BatchManagementClient, wrong: models.Pool, reason: str) -> None:
    with pytest.raises(HttpResponseError) as caught:
        await arm.pool.create(GROUP, ACCOUNT, "pool", wrong)

    assert caught.value.status_code == 400
    assert reason in str(caught.value)


async def test_another_account_is_not_found(arm: BatchManagementClient) -> None:
    with pytest.raises(ResourceNotFoundError):
        await arm.pool.create(GROUP, "another", "pool", pool())


async def test_without_a_token_nobody_is_let_in(double: Double) -> None:
    url = await double.batch.start_arm()
    path = (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Batch/batchAccounts/{ACCOUNT}/pools/pool"
    )

    async def is_refused() -> bool:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}{path}?api-version=2025-06-01", ssl=False) as answer,
        ):
            return answer.status == 401

    await until(is_refused)
