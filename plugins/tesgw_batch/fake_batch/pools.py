"""A pool: nodes, as many as its targets say or as Azure can give, and the tasks that run on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from tesgw_batch.fake_batch.autoscale import FormulaError, Sizes, evaluate
from tesgw_batch.fake_batch.jobs import Job
from tesgw_batch.fake_batch.nodes import Node
from tesgw_batch.fake_batch.problems import absent, conflict
from tesgw_batch.fake_batch.runs import Fate
from tesgw_batch.fake_batch.wire import Wire, duration, resource, stamp, touch
from tesgw_batch.fake_batch.world import World

INTERVAL = "PT15M"
ENABLE_SECONDS = 30
RESIZE_TIMEOUT = "PT15M"
FATES: dict[str, Fate] = {"requeue": "requeue", "terminate": "end"}
"""How nodes are left; with the other options they are left once nothing runs on them."""

Grant = Callable[["Pool", bool, int], tuple[int, list[Wire]]]
"""How many of the wanted nodes the account may have more, and why not all."""


class Pool:
    """`jobs` are those that run here, those first that go first."""

    def __init__(self, world: World, spec: Wire, jobs: Callable[[], Iterable[Job]], grant: Grant) -> None:
        now = world.clock.now()
        self.id: str = spec["id"]
        self.nodes: dict[str, Node] = {}
        self.lost: set[Node] = set()
        """Nodes that it has no more, whose processes may still run."""
        self.wire = resource(spec, f"{world.url}/pools/{self.id}", "active", now)
        self.wire.update({"allocationState": "steady", "allocationStateTransitionTime": stamp(now)})
        self.wire.update({"currentDedicatedNodes": 0, "currentLowPriorityNodes": 0})
        defaults = {
            "targetDedicatedNodes": 0,
            "targetLowPriorityNodes": 0,
            "enableAutoScale": False,
            "enableInterNodeCommunication": False,
            "taskSlotsPerNode": 1,
            "taskSchedulingPolicy": {"nodeFillType": "spread"},
        }
        self.wire.update({name: value for name, value in defaults.items() if self.wire.get(name) is None})
        self._world = world
        self._jobs = jobs
        self._grant = grant
        self._made_at = now
        self._enabled_at: datetime | None = None
        self._resizing: asyncio.Task[None] | None = None
        self._scaling: asyncio.Task[None] | None = None
        self._is_scheduling = False

    @property
    def is_steady(self) -> bool:
        return bool(self.wire["allocationState"] == "steady")

    def open(self) -> None:
        """Get its first nodes."""
        if self.wire["enableAutoScale"]:
            self._scale()
        else:
            self._resize("requeue")

    def check_steady(self) -> None:
        """Raises `Problem` while it is being deleted or resized."""
        self.check_active()
        if not self.is_steady:
            raise conflict("PoolBeingResized", "The specified pool is being resized.")

    def check_active(self) -> None:
        if self.wire["state"] == "deleting":
            raise conflict("PoolBeingDeleted", "The specified pool has been marked for deletion.")

    def node(self, node_id: str) -> Node:
        node = self.nodes.get(node_id)
        if node is None:
            raise absent("Node")
        return node

    # Sizes

    def resize(self, dedicated: int | None, low_priority: int | None, option: str) -> None:
        """Raises `Problem` where Azure does not do it."""
        self.check_steady()
        if self.wire["enableAutoScale"]:
            raise conflict("OperationInvalidForCurrentState", "Pools that scale by a formula cannot be resized.")
        self._aim(dedicated, low_priority)
        self._resize(option)

    def stop_resize(self) -> None:
        self.check_active()
        if self.is_steady:
            raise conflict("OperationInvalidForCurrentState", "The specified pool is not being resized.")
        self._settle([{"code": "ResizeStopped", "message": "Desired number of nodes could not be allocated."}])

    def remove(self, node_ids: Sequence[str], option: str) -> None:
        """Leave these nodes, and want so many fewer."""
        self.check_steady()
        nodes = [self.node(node_id) for node_id in node_ids]
        for node in nodes:
            target = _target(node.is_dedicated)
            self.wire[target] = max(0, self.wire[target] - node.is_there)
        self._resize(option, nodes)

    def enable_scaling(self, formula: str | None, interval: str | None) -> None:
        """Have the formula evaluated now and at each interval."""
        self.check_steady()
        now = self._world.clock.now()
        if self._enabled_at and (now - self._enabled_at).total_seconds() < ENABLE_SECONDS:
            text = "Enable AutoScale requests for the same pool must be separated by at least 30 seconds."
            raise conflict("TooManyEnableAutoScaleRequests", text)
        self._enabled_at = now
        self.wire["enableAutoScale"] = True
        self.wire["autoScaleFormula"] = formula or self.wire["autoScaleFormula"]
        self.wire["autoScaleEvaluationInterval"] = interval or self.wire.get("autoScaleEvaluationInterval") or INTERVAL
        self._scale()

    def disable_scaling(self) -> None:
        """Keep the nodes that there are to be."""
        self.check_active()
        self.wire["enableAutoScale"] = False
        self._stop_scaling()

    def evaluation(self, formula: str) -> tuple[Wire, Sizes | None]:
        """What comes out, as `autoScaleRun` tells of it and as it is; None: it failed."""
        run: Wire = {"timestamp": stamp(self._world.clock.now())}
        try:
            sizes = evaluate(formula, self._facts(), self._world.clock.now())
        except FormulaError as error:
            return {**run, "error": {"code": "AutoScalingFormulaEvaluationError", "message": str(error)}}, None
        return {**run, "results": sizes.results}, sizes

    # Tasks

    def schedule(self) -> None:
        """Give tasks that wait to nodes that have room, as soon as what is going on has been done."""
        if not self._is_scheduling:
            self._is_scheduling = True
            asyncio.get_running_loop().call_soon(self._schedule)

    def _schedule(self) -> None:
        self._is_scheduling = False
        if self.wire["state"] == "deleting":
            return
        free = {node: slots for node in self.nodes.values() if (slots := node.free_slots)}
        for job in self._jobs():
            while (task := job.next()) and (node := self._room(task.slots, free)):
                node.assign(task, job)
                free[node] -= task.slots

    def _room(self, slots: int, free: Mapping[Node, int]) -> Node | None:
        """The node for a task: the fullest that has room, or the emptiest, as the pool's policy says."""
        choose = min if self.wire["taskSchedulingPolicy"]["nodeFillType"] == "pack" else max
        return choose((node for node in free if free[node] >= slots), key=lambda node: free[node], default=None)

    # The end of nodes

    async def lose(self, node: Node, state: str) -> None:
        """The machine is gone: its tasks wait for another one, which comes when there is one."""
        node.lost(state)
        self._count()
        self._world.spawn(self._replace(node))
        self.lost.add(node)
        await self._discard(node)

    def partition(self, node: Node) -> None:
        """The service takes it for gone; its processes go on."""
        node.lost("unknown")
        self.lost.add(self.nodes.pop(node.id))
        self._count()
        self._world.spawn(self._replace(node))

    async def delete(self) -> None:
        """Mark it; returns when nothing of it is left. Tasks wait, for a pool of that name."""
        self.check_active()
        self.wire["state"], self.wire["stateTransitionTime"] = "deleting", stamp(self._world.clock.now())
        self._stop_scaling()
        self._stop_resizing()
        await asyncio.gather(*(self._leave(node, "requeue") for node in list(self.nodes.values())))
        await asyncio.gather(*(self._discard(node) for node in list(self.lost)))

    async def close(self) -> None:
        """End all machines, and run nothing more."""
        self.wire["state"] = "deleting"
        self._stop_scaling()
        self._stop_resizing()
        for node in self.nodes.values():
            node.lost("unknown")
        await asyncio.gather(*(node.remove() for node in {*self.nodes.values(), *self.lost}))

    # How it gets there

    def _scale(self) -> None:
        self._stop_scaling()
        self._evaluate()
        self._scaling = self._world.spawn(self._keep_scaling())

    async def _keep_scaling(self) -> None:
        while True:
            await self._world.clock.sleep(duration(self.wire["autoScaleEvaluationInterval"]).total_seconds())
            self._evaluate()

    def _evaluate(self) -> None:
        self.wire["autoScaleRun"], sizes = self.evaluation(self.wire["autoScaleFormula"])
        if sizes:
            self._aim(sizes.dedicated, sizes.low_priority)
            self._resize(sizes.option)

    def _facts(self) -> Mapping[str, float]:
        """The variables of Batch's own."""
        jobs = list(self._jobs())
        active, running = (float(sum(map(len, kind))) for kind in ([j.waiting for j in jobs], [j.running for j in jobs]))
        facts: dict[str, float] = {}
        if (self._world.clock.now() - self._made_at).total_seconds() >= self._world.pace.sample_seconds:
            facts |= {"$ActiveTasks": active, "$RunningTasks": running, "$PendingTasks": active + running}
        for is_dedicated, name in ((True, "$CurrentDedicatedNodes"), (False, "$CurrentLowPriorityNodes")):
            facts[name] = float(self._current(is_dedicated))
        return facts

    def _aim(self, dedicated: int | None, low_priority: int | None) -> None:
        for is_dedicated, wanted in ((True, dedicated), (False, low_priority)):
            if wanted is not None:
                self.wire[_target(is_dedicated)] = wanted

    def _resize(self, option: str, nodes: Sequence[Node] = ()) -> None:
        """Come to the targets. What was going on before is given up: nodes that were to go stay if they are wanted."""
        self._stop_resizing()
        touch(self.wire, self._world.clock.now())
        if nodes or any(self._missing(is_dedicated) for is_dedicated in (True, False)):
            self._allocation("resizing")
            self.wire.pop("resizeErrors", None)
            self._resizing = self._world.spawn(self._come_to_targets(option, nodes))
        else:
            self._allocation("steady")

    async def _come_to_targets(self, option: str, nodes: Sequence[Node]) -> None:
        await self._world.clock.sleep(self._world.pace.allocation_seconds)
        surplus = [*nodes, *self._surplus(True, nodes), *self._surplus(False, nodes)]
        await asyncio.gather(*(self._leave(node, option) for node in surplus))
        self._settle([*self._grow(True), *self._grow(False)])

    def _surplus(self, is_dedicated: bool, beside: Sequence[Node]) -> Iterator[Node]:
        """The nodes that are too many, those first that nothing runs on."""
        nodes = [node for node in self._there(is_dedicated) if node not in beside]
        too_many = len(nodes) - self.wire[_target(is_dedicated)]
        return iter(sorted(nodes, key=lambda node: len(node.runs))[: max(0, too_many)])

    async def _leave(self, node: Node, option: str) -> None:
        node.is_leaving = True
        try:
            if option in FATES:
                await node.stop(FATES[option])
            while node.runs:
                await self._world.clock.sleep(0.05)
        finally:
            node.is_leaving = False
            self.schedule()
        self.nodes.pop(node.id, None)
        self._count()
        self.lost.add(node)
        # Whoever gives this resize up shall not keep the machine from going.
        await asyncio.wait([self._world.spawn(self._discard(node))])

    async def _discard(self, node: Node) -> None:
        await node.remove()
        self.lost.discard(node)

    def _grow(self, is_dedicated: bool) -> list[Wire]:
        """Get as many of the missing nodes as there are to be had, and say why not all."""
        missing = self._missing(is_dedicated)
        if missing <= 0:
            return []
        if failure := self._world.resize_failure:
            return [{"code": failure[0], "message": failure[1]}]
        granted, errors = self._grant(self, is_dedicated, missing)
        for _ in range(granted):
            node = Node(self._world, self.wire, is_dedicated=is_dedicated, changed=self.schedule)
            self.nodes[node.id] = node
        self._count()
        return errors

    async def _replace(self, node: Node) -> None:
        await self._world.clock.sleep(self._world.pace.replacement_seconds)
        self.nodes.pop(node.id, None)
        if self.wire["state"] == "active" and (errors := self._grow(node.is_dedicated)):
            self.wire["resizeErrors"] = errors

    def _settle(self, errors: list[Wire]) -> None:
        self._stop_resizing()
        self._allocation("steady")
        if errors:
            self.wire["resizeErrors"] = errors

    def _allocation(self, state: str) -> None:
        if self.wire["allocationState"] != state:
            self.wire["allocationState"] = state
            self.wire["allocationStateTransitionTime"] = stamp(self._world.clock.now())

    def _stop_scaling(self) -> None:
        if self._scaling:
            self._scaling.cancel()

    def _stop_resizing(self) -> None:
        if self._resizing and self._resizing is not asyncio.current_task():
            self._resizing.cancel()

    def _there(self, is_dedicated: bool) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_dedicated == is_dedicated and node.is_there]

    def _current(self, is_dedicated: bool) -> int:
        return len(self._there(is_dedicated))

    def _missing(self, is_dedicated: bool) -> int:
        return int(self.wire[_target(is_dedicated)]) - self._current(is_dedicated)

    def _count(self) -> None:
        self.wire["currentDedicatedNodes"] = self._current(True)
        self.wire["currentLowPriorityNodes"] = self._current(False)


def _target(is_dedicated: bool) -> str:
    return "targetDedicatedNodes" if is_dedicated else "targetLowPriorityNodes"
