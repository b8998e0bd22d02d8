"""How the suite's tests are written: coroutines that take a `Case`, most of which run side by side.

A task takes a second or more and the machine is idle meanwhile, so all tests of a pass are begun at once, some at a time,
and pytest's items only wait for them. A test that disturbs others, or counts on being undisturbed, is `alone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from tesgw.capabilities import Capability
from tesgw.conformance.case import Case, World

AT_ONCE = 12

Body = Callable[[Case], Coroutine[Any, Any, None]]


def rule(*, needs: Capability | None = None, alone: bool = False, only: str | None = None) -> Callable[[Body], Any]:
    """Make a test of a coroutine function.

    `needs`: skipped where the backend does not claim this capability; all other tests are for every backend.
    `only`: tried through the `hooks` or through `http` alone, where the other has no such thing.
    """

    def decorate(body: Body) -> Any:
        async def test(world: World, ahead: Ahead, request: pytest.FixtureRequest) -> None:
            if needs and needs not in world.capabilities:
                pytest.skip(f"The backend does not claim: {needs.value}")
            await ahead.outcome(request.node)

        test.__name__, test.__doc__, test.__module__ = body.__name__, body.__doc__, body.__module__
        test.body = body  # type: ignore[attr-defined]  # for `Ahead`
        # The mark is the test's own: the suite runs where no ini file sets pytest-asyncio's mode or loop.
        marked = pytest.mark.asyncio(loop_scope="session")(test)
        return pytest.mark.tes_rule(needs=needs, alone=alone, only=only)(marked)

    return decorate


class Ahead:
    """Runs tests before pytest comes to them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._running: dict[str, asyncio.Task[None]] = {}

    def begin(self, items: Iterable[pytest.Item]) -> None:
        """Start these tests, but for those that want to be alone or that are going to be skipped."""
        for item in items:
            mark = item.get_closest_marker("tes_rule")
            if mark and not mark.kwargs["alone"] and mark.kwargs["needs"] in (None, *self._world.capabilities):
                self._running[item.nodeid] = asyncio.create_task(self._run(item, self._slots), name=item.nodeid)

    async def outcome(self, item: pytest.Item) -> None:
        """Raise what the test raised."""
        if item.nodeid not in self._running:
            if self._running:
                await asyncio.wait(self._running.values())
            self._running[item.nodeid] = asyncio.create_task(self._run(item, asyncio.Semaphore()))
        await self._running[item.nodeid]

    async def end(self) -> None:
        """Stop what still runs."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _run(self, item: pytest.Item, slots: asyncio.Semaphore) -> None:
        body: Body = item.obj.body  # type: ignore[attr-defined]  # `rule` put it there
        async with slots:
            case = Case(item.name, self._world)
            try:
                async with asyncio.timeout(self._world.harness.patience_seconds):
                    await body(case)
            except TimeoutError:
                seconds = self._world.harness.patience_seconds
                pytest.fail(f"Not done after the harness's patience of {seconds:g} s. {case.last_seen()}", pytrace=False)
            finally:
                await case.close()
