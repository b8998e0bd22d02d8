"""What goes wrong on demand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from tesgw_batch.fake_batch.account import Account

EVERY = "*"

Kind = Literal["throttled", "refusing", "slow", "down", "answer lost"]


@dataclass(slots=True, kw_only=True)
class Fault:
    kind: Kind
    route: str
    times: int | None
    seconds: float = 0.0

    def befalls(self, route: str) -> bool:
        if self.times == 0 or not fnmatchcase(route, self.route):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """Each befalls the next requests, `times` of them or, with None, all until `lift`.

    `route` is a pattern of `METHOD /template`, such as `POST /jobs/*`.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._faults: list[Fault] = []

    def throttled(self, route: str = EVERY, *, times: int | None = 1, retry_after: float = 1) -> None:
        """429, with the seconds after which to ask again."""
        self._faults.append(Fault(kind="throttled", route=route, times=times, seconds=retry_after))

    def refusing(self, route: str = EVERY, *, times: int | None = 1) -> None:
        """500."""
        self._faults.append(Fault(kind="refusing", route=route, times=times))

    def slow(self, route: str = EVERY, *, times: int | None = 1, seconds: float) -> None:
        """Carried out so many real seconds later."""
        self._faults.append(Fault(kind="slow", route=route, times=times, seconds=seconds))

    def down(self, route: str = EVERY, *, times: int | None = None) -> None:
        """The connection is closed, and nothing is done."""
        self._faults.append(Fault(kind="down", route=route, times=times))

    def loses_answers(self, route: str = EVERY, *, times: int | None = 1) -> None:
        """Carried out; then the connection is closed."""
        self._faults.append(Fault(kind="answer lost", route=route, times=times))

    def start_task_fails(self, text: str) -> None:
        """Start tasks write this to stderr and exit with 1."""
        self._account.world.start_task_failure = text

    def resize_fails(self, code: str, message: str) -> None:
        """No node can be had, for this reason."""
        self._account.world.resize_failure = code, message

    def lift(self) -> None:
        """From now on all is well."""
        self._faults.clear()
        self._account.world.start_task_failure = self._account.world.resize_failure = None

    async def preempt(self, node_id: str) -> None:
        """Take the machine away; another one comes."""
        pool, node = self._account.find_node(node_id)
        await pool.lose(node, "preempted")

    async def partition(self, node_id: str) -> None:
        """The service takes the node for gone and runs its tasks elsewhere, while they still run there."""
        pool, node = self._account.find_node(node_id)
        pool.partition(node)

    async def lose_nodes(self) -> None:
        """All machines are gone at once; others come."""
        nodes = [(pool, node) for pool in self._account.pools() for node in pool.nodes.values()]
        await asyncio.gather(*(pool.lose(node, "unknown") for pool, node in nodes))

    def next(self, route: str) -> Fault | None:
        """What befalls this request."""
        return next((fault for fault in self._faults if fault.befalls(route)), None)
