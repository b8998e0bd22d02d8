"""Pools with a managed identity. Only Azure Resource Manager makes them; all else about them is the Batch account's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from azure.batch.models import BatchPoolCreateOptions
from azure.core import MatchConditions
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.mgmt.batch import models
from azure.mgmt.batch.aio import BatchManagementClient

from tesgw import BackendUnavailable
from tesgw.errors import SettingsError
from tesgw_batch.client import Refused

CALL_SECONDS = 60.0

_ACCOUNT = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Batch/batchAccounts/([^/]+)", re.IGNORECASE
)

Part = Callable[[Any], Any]


class ArmPools:
    """The pools of the Batch account with that resource id. `SettingsError` if it is none.

    `base_url` is Azure Resource Manager's; `connection_verify` the file of a CA to trust instead of the usual ones.
    """

    def __init__(
        self,
        resource_id: str,
        credential: AsyncTokenCredential,
        *,
        base_url: str = "https://management.azure.com",
        connection_verify: bool | str = True,
    ) -> None:
        found = _ACCOUNT.fullmatch(resource_id)
        if not found:
            raise SettingsError(f"BATCH_ACCOUNT_RESOURCE_ID={resource_id} is not /subscriptions/…/batchAccounts/NAME.")
        self._subscription, self._group, self._account = found.groups()
        self._credential = credential
        self._base_url = base_url.rstrip("/")
        self._connection_verify = connection_verify

    async def create(self, pool: BatchPoolCreateOptions, identity: str) -> None:
        """Make this pool, with the user-assigned identity of that resource id; one of its id that exists stays as it is.

        Raises `BackendUnavailable` for what may pass, `Refused` for what will not.
        """
        wire = pool.as_dict()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._put(wire["id"], translated(wire, identity))
        except TimeoutError as error:
            raise BackendUnavailable(f"Azure Resource Manager did not answer in {CALL_SECONDS:.0f} s.") from error
        except AzureError as error:
            if not _says_exists(error):
                raise _explained(error) from error

    async def _put(self, pool_id: str, body: dict[str, Any]) -> None:
        async with BatchManagementClient(
            self._credential,
            self._subscription,
            self._base_url,
            credential_scopes=[f"{self._base_url}/.default"],
            connection_verify=self._connection_verify,
            retry_total=0,
        ) as client:
            # Without the condition, a pool of this id would be changed.
            await client.pool.create(self._group, self._account, pool_id, body, match_condition=MatchConditions.IfMissing)


def translated(pool: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """What the Batch account would be asked for, as Azure Resource Manager wants it. ValueError for what is unknown."""
    properties = _POOL(pool)
    del properties["id"]
    if not properties.pop("enableAutoScale", False):
        raise ValueError("Only pools that scale by a formula are made here.")
    scale = {
        "formula": properties.pop("autoScaleFormula"),
        "evaluationInterval": properties.pop("autoScaleEvaluationInterval"),
    }
    properties["scaleSettings"] = {"autoScale": scale}
    properties["deploymentConfiguration"] = {"virtualMachineConfiguration": properties.pop("virtualMachineConfiguration")}
    return {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
        "properties": properties,
    }


def _object(*, renamed: Mapping[str, str] | None = None, **parts: Part) -> Part:
    names = renamed or {}

    def translate(value: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := sorted(value.keys() - parts.keys()):
            raise ValueError(f"No translation for Azure Resource Manager: {', '.join(unknown)}.")
        return {names.get(name, name): parts[name](item) for name, item in value.items() if item is not None}

    return translate


def _each(part: Part) -> Part:
    return lambda values: [part(value) for value in values]


def _spelled(kind: type[Enum]) -> Part:
    """The two interfaces spell the same words in different case."""
    spellings = {str(member.value).lower(): member.value for member in kind}

    def translate(value: str) -> Any:
        if value.lower() not in spellings:
            raise ValueError(f"Azure Resource Manager knows no {kind.__name__} {value!r}.")
        return spellings[value.lower()]

    return translate


def _same(value: Any) -> Any:
    return value


_ITEM = _object(name=_same, value=_same)
_ELEVATION = _spelled(models.ElevationLevel)
_POOL = _object(
    id=_same,
    displayName=_same,
    vmSize=_same,
    taskSlotsPerNode=_same,
    enableAutoScale=_same,
    autoScaleFormula=_same,
    autoScaleEvaluationInterval=_same,
    metadata=_each(_ITEM),
    networkConfiguration=_object(subnetId=_same),
    userAccounts=_each(_object(name=_same, password=_same, elevationLevel=_ELEVATION)),
    virtualMachineConfiguration=_object(
        renamed={"nodeAgentSKUId": "nodeAgentSkuId"},
        nodeAgentSKUId=_same,
        imageReference=_object(publisher=_same, offer=_same, sku=_same, version=_same),
        containerConfiguration=_object(
            type=_spelled(models.ContainerType),
            containerImageNames=_same,
            containerRegistries=_each(
                _object(registryServer=_same, username=_same, password=_same, identityReference=_object(resourceId=_same))
            ),
        ),
    ),
    startTask=_object(
        commandLine=_same,
        environmentSettings=_each(_ITEM),
        userIdentity=_object(autoUser=_object(scope=_spelled(models.AutoUserScope), elevationLevel=_ELEVATION)),
        maxTaskRetryCount=_same,
        waitForSuccess=_same,
    ),
    mountConfiguration=_each(
        _object(
            azureFileShareConfiguration=_object(
                accountName=_same, accountKey=_same, azureFileUrl=_same, relativeMountPath=_same, mountOptions=_same
            )
        )
    ),
)


def _says_exists(error: AzureError) -> bool:
    # 412 answers `If-None-Match: *`.
    return isinstance(error, HttpResponseError) and (error.status_code == 412 or _code(error) == "PoolExists")


def _code(error: HttpResponseError) -> str:
    return (error.error and error.error.code) or str(error.status_code)


def _explained(error: AzureError) -> BackendUnavailable | Refused:
    status = getattr(error, "status_code", None)
    if isinstance(error, ClientAuthenticationError) or status == 403:
        return BackendUnavailable(
            "Azure Resource Manager refuses the gateway's identity: it needs a role on the Batch account that lets it write "
            "pools, such as Contributor, and Managed Identity Operator on BATCH_NODE_IDENTITY."
        )
    if not isinstance(error, HttpResponseError) or not status:
        return BackendUnavailable(f"Azure Resource Manager cannot be reached: {type(error).__name__}.")
    if status in (408, 429) or status >= 500:
        return BackendUnavailable(f"Azure Resource Manager cannot answer now: {status} {_code(error)}.")
    return Refused(_code(error), (error.error and error.error.message) or "no reason given")
