from __future__ import annotations

import copy
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from azure.batch import models as batch
from azure.mgmt.batch import models as arm
from tesgw_batch.arm import ArmPools, translated
from tesgw_batch.client import Refused
from tesgw_batch.fake_batch.certificates import make_certificates
from tesgw_batch.fake_batch.strict import check
from tesgw_batch.mapping import Need, Plan, pool_options

from tesgw import BackendUnavailable
from tesgw.errors import SettingsError
from tests.plugins.batch.identity import Identity

ACCOUNT_ID = "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Batch/batchAccounts/acct"
IDENTITY = "/subscriptions/sub/resourceGroups/group/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"


class Arm:
    """Azure Resource Manager's route for one pool; a body that the SDK's models do not know fails the request."""

    def __init__(self) -> None:
        self.pools: dict[str, Any] = {}
        self.failure: tuple[int, str] | None = None
        self.asked = 0

    async def put(self, request: web.Request) -> web.Response:
        self.asked += 1
        pool_id = request.match_info["pool"]
        assert request.headers["Authorization"].startswith("Bearer ")
        assert request.query["api-version"] == "2025-06-01"
        assert request.headers["If-None-Match"] == "*"
        if self.failure:
            return self._error(*self.failure)
        if pool_id in self.pools:
            return self._error(412, "PreconditionFailed")
        self.pools[pool_id] = check(arm.Pool, await request.json())
        return web.json_response({"id": request.path, "name": pool_id, **self.pools[pool_id]})

    def _error(self, status: int, code: str) -> web.Response:
        return web.json_response({"error": {"code": code, "message": "Because."}}, status=status)


@pytest.fixture
def service() -> Arm:
    return Arm()


@pytest_asyncio.fixture
async def pools(service: Arm, tmp_path: Path) -> AsyncIterator[ArmPools]:
    app = web.Application()
    app.router.add_put(f"{ACCOUNT_ID}/pools/{{pool}}", service.put)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*make_certificates(tmp_path))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    yield ArmPools(ACCOUNT_ID, Identity(), base_url=url, connection_verify=str(tmp_path / "ca.pem"))
    await runner.cleanup()


def machine() -> batch.VirtualMachineConfiguration:
    by_identity = batch.BatchNodeIdentityReference(resource_id=IDENTITY)
    return batch.VirtualMachineConfiguration(
        image_reference=batch.BatchVmImageReference(publisher="pub", offer="off", sku="sk", version="latest"),
        node_agent_sku_id="batch.node.ubuntu 24.04",
        container_configuration=batch.BatchContainerConfiguration(
            type="dockerCompatible",
            container_image_names=["img"],
            container_registries=[
                batch.ContainerRegistryReference(registry_server="a", username="user", password="secret"),
                batch.ContainerRegistryReference(registry_server="b", identity_reference=by_identity),
            ],
        ),
    )


def options(formula: str = "$TargetDedicatedNodes = 1;") -> batch.BatchPoolCreateOptions:
    """A pool with all that can be said of one."""
    return batch.BatchPoolCreateOptions(
        id="pool-1",
        display_name="a pool",
        vm_size="standard_d2a_v4",
        virtual_machine_configuration=machine(),
        enable_auto_scale=True,
        auto_scale_formula=formula,
        auto_scale_evaluation_interval=timedelta(minutes=5),
        task_slots_per_node=2,
        start_task=batch.BatchStartTask(
            command_line="start",
            environment_settings=[batch.EnvironmentSetting(name="NAME", value="env value")],
            user_identity=batch.UserIdentity(
                auto_user=batch.AutoUserSpecification(scope="pool", elevation_level="nonadmin")
            ),
            wait_for_success=True,
            max_task_retry_count=7,
        ),
        network_configuration=batch.NetworkConfiguration(subnet_id="/the/subnet"),
        mount_configuration=[
            batch.MountConfiguration(
                azure_file_share_configuration=batch.AzureFileShareConfiguration(
                    account_name="acct",
                    account_key="k",
                    azure_file_url="https://f",
                    relative_mount_path="m",
                    mount_options="-o",
                )
            )
        ],
        user_accounts=[batch.UserAccount(name="admin name", password="pw", elevation_level="admin")],
        metadata=[batch.BatchMetadataItem(name="meta", value="data")],
    )


ALL_OF_IT = {
    "pool-1": {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
        "properties": {
            "displayName": "a pool",
            "vmSize": "standard_d2a_v4",
            "deploymentConfiguration": {
                "virtualMachineConfiguration": {
                    "imageReference": {"publisher": "pub", "offer": "off", "sku": "sk", "version": "latest"},
                    "nodeAgentSkuId": "batch.node.ubuntu 24.04",
                    "containerConfiguration": {
                        "type": "DockerCompatible",
                        "containerImageNames": ["img"],
                        "containerRegistries": [
                            {"registryServer": "a", "username": "user", "password": "secret"},
                            {"registryServer": "b", "identityReference": {"resourceId": IDENTITY}},
                        ],
                    },
                }
            },
            "scaleSettings": {"autoScale": {"formula": "$TargetDedicatedNodes = 1;", "evaluationInterval": "PT05M00S"}},
            "taskSlotsPerNode": 2,
            "startTask": {
                "commandLine": "start",
                "environmentSettings": [{"name": "NAME", "value": "env value"}],
                "userIdentity": {"autoUser": {"scope": "Pool", "elevationLevel": "NonAdmin"}},
                "waitForSuccess": True,
                "maxTaskRetryCount": 7,
            },
            "networkConfiguration": {"subnetId": "/the/subnet"},
            "mountConfiguration": [
                {
                    "azureFileShareConfiguration": {
                        "accountName": "acct",
                        "accountKey": "k",
                        "azureFileUrl": "https://f",
                        "relativeMountPath": "m",
                        "mountOptions": "-o",
                    }
                }
            ],
            "userAccounts": [{"name": "admin name", "password": "pw", "elevationLevel": "Admin"}],
            "metadata": [{"name": "meta", "value": "data"}],
        },
    }
}


async def test_a_pool_is_made_with_its_identity_and_all_that_was_asked_for(service: Arm, pools: ArmPools) -> None:
    await pools.create(options(), IDENTITY)

    assert service.pools == ALL_OF_IT


async def test_a_pool_that_exists_is_success_and_stays_as_it_is(service: Arm, pools: ArmPools) -> None:
    await pools.create(options("first"), IDENTITY)
    await pools.create(options("second"), IDENTITY)

    assert service.asked == 2
    assert service.pools["pool-1"]["properties"]["scaleSettings"]["autoScale"]["formula"] == "first"


@pytest.mark.parametrize(
    ("status", "code", "problem", "text"),
    [
        (401, "ExpiredAuthenticationToken", BackendUnavailable, "Managed Identity Operator"),
        (403, "AuthorizationFailed", BackendUnavailable, "Managed Identity Operator"),
        (429, "TooManyRequests", BackendUnavailable, "429 TooManyRequests"),
        (503, "ServerBusy", BackendUnavailable, "503 ServerBusy"),
        (400, "InvalidRequestBody", Refused, "InvalidRequestBody: Because."),
        (404, "ResourceNotFound", Refused, "ResourceNotFound: Because."),
        (409, "PoolQuotaReached", Refused, "PoolQuotaReached: Because."),
    ],
)
async def test_a_failure_says_whether_it_may_pass(
    service: Arm, pools: ArmPools, status: int, code: str, problem: type[Exception], text: str
) -> None:
    service.failure = (status, code)
    with pytest.raises(problem, match=text):
        await pools.create(options(), IDENTITY)
    assert service.asked == 1


async def test_a_conflict_that_names_the_pool_itself_is_success(service: Arm, pools: ArmPools) -> None:
    service.failure = (409, "PoolExists")
    await pools.create(options(), IDENTITY)


async def test_a_manager_that_cannot_be_reached_is_asked_again_later() -> None:
    nowhere = ArmPools(ACCOUNT_ID, Identity(), base_url="https://127.0.0.1:9")
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        await nowhere.create(options(), IDENTITY)


@pytest.mark.parametrize(
    "resource_id",
    [
        "",
        "acct",
        f"{ACCOUNT_ID}/pools/x",
        ACCOUNT_ID.replace("Microsoft.Batch", "MicrosoftXBatch"),
        IDENTITY,
        f"x{ACCOUNT_ID}",
    ],
)
def test_what_is_no_batch_account_is_said_at_the_start(resource_id: str) -> None:
    with pytest.raises(SettingsError, match="BATCH_ACCOUNT_RESOURCE_ID"):
        ArmPools(resource_id, Identity())


def places(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in it, and itself."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from places(item)


def leaves(value: Any) -> list[str]:
    """All that is said, in whatever case."""
    if isinstance(value, dict):
        return sorted(leaf for item in value.values() for leaf in leaves(item))
    if isinstance(value, list):
        return sorted(leaf for item in value for leaf in leaves(item))
    return [str(value).lower()]


def test_nothing_of_a_pool_is_lost() -> None:
    wire = options().as_dict()
    for place in places(wire):
        assert all(value is not None for value in place.values())

    asked, made = leaves(wire), leaves(translated(wire, IDENTITY))
    asked.remove("pool-1")  # which is in the URL
    asked.remove("true")  # enableAutoScale
    made.remove("userassigned")
    assert made == asked


def test_what_has_no_translation_is_refused_wherever_it_is() -> None:
    wire = options().as_dict()
    count = len(list(places(wire)))
    for index in range(count):
        changed = copy.deepcopy(wire)
        list(places(changed))[index]["newThing"] = "x"

        with pytest.raises(ValueError, match="newThing"):
            translated(changed, IDENTITY)
    assert count > 15


def test_a_word_that_the_other_interface_lacks_is_refused() -> None:
    wire = options().as_dict()
    wire["userAccounts"][0]["elevationLevel"] = "root"

    with pytest.raises(ValueError, match="root"):
        translated(wire, IDENTITY)


def test_a_pool_of_fixed_size_is_refused() -> None:
    wire = options().as_dict() | {"enableAutoScale": False}

    with pytest.raises(ValueError, match="formula"):
        translated(wire, IDENTITY)


@pytest.mark.parametrize("registry", [("", "", ""), ("https://r", "user", "pw")])
@pytest.mark.parametrize("is_bare", [False, True])
def test_every_pool_that_the_gateway_makes_can_be_translated(registry: tuple[str, str, str], is_bare: bool) -> None:
    plan = Plan(
        image="x.azurecr.io/tesgw:1",
        node_image="microsoft-dsvm:ubuntu-hpc:2404:latest:batch.node.ubuntu 24.04",
        sizes=(),
        most_dedicated=1,
        most_spot=1,
        least=0,
        spot_by_default=False,
        spot_attempts=2,
        pool_id="",
        region="westeurope",
        identity=IDENTITY,
        subnet="" if is_bare else "/the/subnet",
        lease_seconds=60,
        keeps_pools=False,
        owner="https://acct.blob.core.windows.net/batchtmp",
        share="" if is_bare else "batchfiles",
        storage_account="acct",
        storage_key="k",
        admin="" if is_bare else "admin",
        admin_password="pw",
        registry=registry,
    )
    pool = pool_options("pool-1", Need("standard_d2a_v4", is_spot=True), plan, "$TargetDedicatedNodes = 0;")

    body = check(arm.Pool, translated(pool.as_dict(), IDENTITY))
    assert body["properties"]["vmSize"] == "standard_d2a_v4"
