"""The part of Azure Resource Manager that makes pools with managed identities, over HTTPS.

A pool made here is the same pool that the account shows. Names and values of the two interfaces differ in their case alone.
"""

from __future__ import annotations

import json
import re
import ssl
import typing
from enum import Enum
from pathlib import Path
from typing import Any

from aiohttp import web
from azure.batch import models
from azure.mgmt.batch import models as arm_models

from tesgw_batch.fake_batch.account import Account
from tesgw_batch.fake_batch.answers import ACCOUNT
from tesgw_batch.fake_batch.certificates import make_certificates
from tesgw_batch.fake_batch.limits import check_pool
from tesgw_batch.fake_batch.problems import Problem, invalid, missing
from tesgw_batch.fake_batch.strict import check, fields, is_model, narrowest
from tesgw_batch.fake_batch.wire import Wire

API_VERSION = "2025-06-01"
SCOPE = (
    r"/subscriptions/{subscription}/{groups:[Rr]esource[Gg]roups}/{group}/providers/Microsoft.Batch/batchAccounts/{account}"
)
POOL = f"{SCOPE}/pools/{{poolId}}"

routes = web.RouteTableDef()

_IDENTITY = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/]+", re.I
)


def application(account: Account) -> web.Application:
    app = web.Application(middlewares=[_answer])
    app[ACCOUNT] = account
    app.add_routes(routes)
    return app


def tls(directory: Path) -> ssl.SSLContext:
    """For a server on this machine, whose clients trust `ca.pem` in the directory."""
    certificate, key = make_certificates(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@web.middleware
async def _answer(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        _admit(request)
        response: web.StreamResponse = await handler(request)
    except Problem as problem:
        reasons = [problem.message, *(f"{key}: {value}" for key, value in problem.values.items())]
        error = {"code": problem.code, "message": "; ".join(reasons)}
        return web.json_response({"error": error}, status=problem.status)
    return response


def _admit(request: web.Request) -> None:
    """Raises `Problem` for those who bring no token, speak another version, or mean another account."""
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        raise Problem(401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
    if request.query.get("api-version") != API_VERSION:
        raise Problem(400, "InvalidApiVersionParameter", f"The double of Azure Resource Manager speaks {API_VERSION}.")
    name = request.match_info.get("account", "")
    if name.lower() != request.app[ACCOUNT].world.account.lower():
        raise Problem(404, "ResourceNotFound", f"The Resource 'Microsoft.Batch/batchAccounts/{name}' was not found.")


@routes.put(POOL)
async def put(request: web.Request) -> web.Response:
    """Make it. 200 also says that there was this very pool already."""
    account, pool_id = request.app[ACCOUNT], request.match_info["poolId"]
    try:
        sent = check(arm_models.Pool, json.loads(await request.text()))
    except ValueError as error:
        raise Problem(400, "InvalidRequestContent", "The request content is not valid.") from error
    spec = _spec(pool_id, sent.get("properties") or {})
    identity = _identity(sent.get("identity") or {})
    check_pool(spec, [each["resourceId"] for each in identity.get("userAssignedIdentities", ())])
    known = next((pool for pool in account.pools() if pool.id.lower() == pool_id.lower()), None)
    if known and request.headers.get("If-None-Match") == "*":
        raise Problem(412, "PreconditionFailed", "There is a pool of this name.")
    if known is None:
        account.add_pool(spec).wire["identity"] = identity
    elif any(known.wire.get(name) != value for name, value in {**spec, "identity": identity}.items()):
        raise Problem(409, "PropertyCannotBeUpdated", "One or more of the pool's properties cannot be updated.")
    return web.json_response(_shown(request))


@routes.get(POOL)
async def get(request: web.Request) -> web.Response:
    return web.json_response(_shown(request))


@routes.delete(POOL)
async def delete(request: web.Request) -> web.Response:
    """Gone already is deleted, too."""
    account, pool_id = request.app[ACCOUNT], request.match_info["poolId"]
    if not _is_there(account, pool_id):
        return web.Response(status=204)
    if account.pool(pool_id).wire["state"] == "active":
        account.delete_pool(pool_id)
    place = request.url.with_path(f"{request.path.rpartition('/pools/')[0]}/poolOperationResults/{pool_id}", keep_query=True)
    return web.Response(status=202, headers={"Location": str(place), "Retry-After": "0"})


@routes.get(f"{SCOPE}/poolOperationResults/{{poolId}}")
async def result(request: web.Request) -> web.Response:
    """Whether it is gone yet."""
    if not _is_there(request.app[ACCOUNT], request.match_info["poolId"]):
        return web.Response(status=204)
    return web.Response(status=202, headers={"Location": str(request.url), "Retry-After": "0"})


def _is_there(account: Account, pool_id: str) -> bool:
    return pool_id.lower() in (pool.id.lower() for pool in account.pools())


def _identity(identity: Wire) -> Wire:
    """As the account shows it."""
    ids = list(identity.get("userAssignedIdentities") or {})
    for each in ids:
        if not _IDENTITY.fullmatch(each):
            raise invalid("identity.userAssignedIdentities", each, "It is no resource id of a user-assigned identity.")
    kind = identity.get("type", "None")
    if (kind == "UserAssigned") != bool(ids):
        raise invalid("identity.type", kind, "It has to be UserAssigned with identities, and None without.")
    return {"type": kind, **({"userAssignedIdentities": [{"resourceId": each} for each in ids]} if ids else {})}


def _spec(pool_id: str, properties: Wire) -> Wire:
    """What the account would have been asked for."""
    if not properties.get("vmSize"):
        raise missing("properties.vmSize")
    scale = properties.get("scaleSettings") or {}
    deployment = properties.get("deploymentConfiguration") or {}
    rest = {name: value for name, value in properties.items() if name not in ("scaleSettings", "deploymentConfiguration")}
    communication = rest.pop("interNodeCommunication", None)
    spec = _conform(models.BatchPoolCreateOptions, {**rest, **deployment, **(scale.get("fixedScale") or {})})
    if scaling := scale.get("autoScale"):
        interval = scaling.get("evaluationInterval")
        spec |= {"enableAutoScale": True, "autoScaleFormula": scaling["formula"]}
        spec |= {"autoScaleEvaluationInterval": interval} if interval else {}
    if communication:
        spec["enableInterNodeCommunication"] = communication == "Enabled"
    return {"id": pool_id, **spec}


def _conform(annotation: Any, value: Any) -> Any:
    """A value of one interface, in the spelling of the other's type. What that does not have is refused."""
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Union:
        return _conform(narrowest(options), value)
    if origin is list:
        return [_conform(options[0], item) for item in value]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next((member.value for member in annotation if member.value.lower() == str(value).lower()), value)
    if not is_model(annotation):
        return value
    known = fields(annotation)
    names = {name.lower(): name for name in known}
    conformed = {}
    for name, item in value.items():
        if name.lower() not in names:
            raise invalid(name, item, "The double of Azure Resource Manager does not know it.")
        rightly = names[name.lower()]
        conformed[rightly] = _conform(known[rightly].type, item)
    return conformed


def _shown(request: web.Request) -> Wire:
    wire = request.app[ACCOUNT].pool(request.match_info["poolId"]).wire
    identity = wire.get("identity") or {"type": "None"}
    ids = [each["resourceId"] for each in identity.get("userAssignedIdentities", ())]
    known = fields(arm_models.PoolProperties)
    states = {"provisioningState": "Deleting" if wire["state"] == "deleting" else "Succeeded"}
    states["allocationState"] = str(wire["allocationState"]).capitalize()
    like = ("displayName", "lastModified", "creationTime", "vmSize", "taskSlotsPerNode", "metadata", "currentDedicatedNodes")
    shown = {name: wire[name] for name in (*like, "currentLowPriorityNodes") if name in wire and name in known}
    return {
        "id": request.path,
        "name": wire["id"],
        "type": "Microsoft.Batch/batchAccounts/pools",
        "etag": wire["eTag"],
        "identity": {"type": identity["type"], **({"userAssignedIdentities": {each: {} for each in ids}} if ids else {})},
        "properties": {**shown, **states},
    }
