"""The requests about pools and their nodes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from aiohttp import web
from azure.batch import models

from tesgw_batch.fake_batch import filters
from tesgw_batch.fake_batch.answers import ACCOUNT, body, changed, many, one
from tesgw_batch.fake_batch.limits import check_formula, check_interval, check_pool
from tesgw_batch.fake_batch.nodes import Node
from tesgw_batch.fake_batch.pools import Pool
from tesgw_batch.fake_batch.problems import conflict, invalid, missing
from tesgw_batch.fake_batch.strict import fields
from tesgw_batch.fake_batch.wire import Wire, touch

routes = web.RouteTableDef()

REMOVABLE = 100
WHILE_EMPTY = (
    "vmSize",
    "virtualMachineConfiguration",
    "taskSlotsPerNode",
    "taskSchedulingPolicy",
    "networkConfiguration",
    "userAccounts",
    "mountConfiguration",
    "displayName",
    "enableInterNodeCommunication",
)
IMAGES = (
    ("microsoft-dsvm", "ubuntu-hpc", "2404", "batch.node.ubuntu 24.04", ["DockerCompatible", "UserAccount"], None),
    ("microsoft-dsvm", "ubuntu-hpc", "2204", "batch.node.ubuntu 22.04", ["DockerCompatible", "UserAccount"], "2027-06-30"),
    ("canonical", "ubuntu-24_04-lts", "server", "batch.node.ubuntu 24.04", ["UserAccount"], None),
)


def _pool(request: web.Request) -> Pool:
    return request.app[ACCOUNT].pool(request.match_info["poolId"])


def _node(request: web.Request) -> Node:
    return _pool(request).node(request.match_info["nodeId"])


@routes.post("/pools")
async def add(request: web.Request) -> web.Response:
    spec = await body(request, models.BatchPoolCreateOptions)
    check_pool(spec)
    return changed(request, request.app[ACCOUNT].add_pool(spec).wire, 201)


@routes.get("/pools")
async def list_all(request: web.Request) -> web.Response:
    wires = (pool.wire for pool in request.app[ACCOUNT].pools())
    return many(request, wires, models.BatchPool, filters.POOLS)


@routes.get("/pools/{poolId}")
async def get(request: web.Request) -> web.Response:
    return one(request, _pool(request).wire, models.BatchPool)


@routes.patch("/pools/{poolId}")
async def patch(request: web.Request) -> web.Response:
    changes = await body(request, models.BatchPoolUpdateOptions)
    pool = _pool(request)
    pool.check_active()
    if pool.nodes and (fixed := next((name for name in WHILE_EMPTY if name in changes), None)):
        raise conflict("OperationInvalidForCurrentState", f"{fixed} can only be changed while the pool has no nodes.")
    check_pool({**_as_created(pool.wire), **changes})
    pool.wire.update(changes)
    touch(pool.wire, request.app[ACCOUNT].world.clock.now())
    return changed(request, pool.wire, 200)


@routes.delete("/pools/{poolId}")
async def delete(request: web.Request) -> web.Response:
    request.app[ACCOUNT].delete_pool(request.match_info["poolId"])
    return web.Response(status=202)


@routes.post("/pools/{poolId}/enableautoscale")
async def enable_autoscale(request: web.Request) -> web.Response:
    options = await body(request, models.BatchPoolEnableAutoScaleOptions)
    pool = _pool(request)
    formula = options.get("autoScaleFormula")
    if formula is None and not pool.wire["enableAutoScale"]:
        raise missing("autoScaleFormula")
    if formula is not None:
        check_formula(formula)
    check_interval(options)
    pool.enable_scaling(formula, options.get("autoScaleEvaluationInterval"))
    return changed(request, pool.wire, 200)


@routes.post("/pools/{poolId}/disableautoscale")
async def disable_autoscale(request: web.Request) -> web.Response:
    pool = _pool(request)
    pool.disable_scaling()
    return changed(request, pool.wire, 200)


@routes.post("/pools/{poolId}/evaluateautoscale")
async def evaluate_autoscale(request: web.Request) -> web.Response:
    formula = (await body(request, models.BatchPoolEvaluateAutoScaleOptions))["autoScaleFormula"]
    check_formula(formula)
    pool = _pool(request)
    if not pool.wire["enableAutoScale"]:
        raise conflict("OperationInvalidForCurrentState", "The specified pool does not scale by a formula.")
    return web.json_response(pool.evaluation(formula)[0])


@routes.post("/pools/{poolId}/resize")
async def resize(request: web.Request) -> web.Response:
    options = await body(request, models.BatchPoolResizeOptions)
    dedicated, low_priority = options.get("targetDedicatedNodes"), options.get("targetLowPriorityNodes")
    if dedicated is None and low_priority is None:
        raise missing("targetDedicatedNodes")
    if min(dedicated or 0, low_priority or 0) < 0:
        raise invalid("targetDedicatedNodes", min(dedicated or 0, low_priority or 0), "It is negative.")
    pool = _pool(request)
    pool.resize(dedicated, low_priority, options.get("nodeDeallocationOption", "requeue"))
    return changed(request, pool.wire, 202)


@routes.post("/pools/{poolId}/stopresize")
async def stop_resize(request: web.Request) -> web.Response:
    pool = _pool(request)
    pool.stop_resize()
    return changed(request, pool.wire, 202)


@routes.post("/pools/{poolId}/removenodes")
async def remove_nodes(request: web.Request) -> web.Response:
    options = await body(request, models.BatchNodeRemoveOptions)
    nodes = options["nodeList"]
    if not 1 <= len(nodes) <= REMOVABLE:
        raise invalid("nodeList", len(nodes), f"It has to have from 1 to {REMOVABLE} nodes.")
    pool = _pool(request)
    pool.remove(nodes, options.get("nodeDeallocationOption", "requeue"))
    return changed(request, pool.wire, 202)


@routes.get("/pools/{poolId}/nodes")
async def list_nodes(request: web.Request) -> web.Response:
    wires = (node.wire for node in _pool(request).nodes.values())
    return many(request, wires, models.BatchNode, filters.NODES)


@routes.get("/pools/{poolId}/nodes/{nodeId}")
async def get_node(request: web.Request) -> web.Response:
    return one(request, _node(request).wire, models.BatchNode)


@routes.get("/nodecounts")
async def node_counts(request: web.Request) -> web.Response:
    wires = (_counts(pool) for pool in request.app[ACCOUNT].pools())
    return many(request, wires, models.BatchPoolNodeCounts, filters.NODE_COUNTS, key="poolId")


@routes.get("/supportedimages")
async def supported_images(request: web.Request) -> web.Response:
    return many(request, map(_image, IMAGES), models.BatchSupportedImage, filters.IMAGES, key="nodeAgentSKUId")


def _as_created(wire: Wire) -> Wire:
    """Of a pool: what a request to make it would say."""
    spec = {name: value for name, value in wire.items() if name in fields(models.BatchPoolCreateOptions)}
    chosen = ("targetDedicatedNodes", "targetLowPriorityNodes") if wire["enableAutoScale"] else ("autoScaleFormula",)
    return {name: value for name, value in spec.items() if name not in (*chosen, "autoScaleEvaluationInterval")}


def _counts(pool: Pool) -> Wire:
    return {
        "poolId": pool.id,
        "dedicated": _states(node for node in pool.nodes.values() if node.is_dedicated),
        "lowPriority": _states(node for node in pool.nodes.values() if not node.is_dedicated),
    }


def _states(nodes: Any) -> Wire:
    counted = Counter(node.state for node in nodes)
    names = [name for name in fields(models.BatchNodeCounts) if name != "total"]
    return {**{name: counted[name.lower()] for name in names}, "total": counted.total()}


def _image(image: tuple[str, str, str, str, list[str], str | None]) -> Wire:
    publisher, offer, sku, agent, capabilities, ends = image
    wire: Wire = {
        "nodeAgentSKUId": agent,
        "imageReference": {"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"},
        "osType": "linux",
        "capabilities": capabilities,
        "verificationType": "verified",
    }
    return {**wire, "batchSupportEndOfLife": f"{ends}T00:00:00Z"} if ends else wire
