"""Tests that run side by side: each has a world of its own, and much of it is waiting."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest

from tests.plugins.batch.faults.world import Grounds, World

AT_ONCE = 16

Scene = Callable[..., Coroutine[Any, Any, None]]
Outcomes = Mapping[str, BaseException | None]
"""By the test's id: what it failed with."""


def side_by_side(**quotas: int) -> Callable[[Scene], Callable[..., None]]:
    """Make a test of a scene that takes a `world`, whose account has these quotas, and maybe parameters."""

    def decorate(scene: Scene) -> Callable[..., None]:
        def test(outcomes: Outcomes, request: pytest.FixtureRequest, **_: Any) -> None:
            if failure := outcomes[request.node.nodeid]:
                raise failure

        own = [parameter for name, parameter in inspect.signature(scene).parameters.items() if name != "world"]
        given = [parameter for parameter in inspect.signature(test).parameters.values() if parameter.name != "_"]
        test.__signature__ = inspect.Signature([*given, *own])  # type: ignore[attr-defined]  # pytest reads it
        test.__name__ = scene.__name__
        test.__doc__ = scene.__doc__
        test.scene, test.quotas = scene, quotas  # type: ignore[attr-defined]  # for `play`
        return test

    return decorate


async def play(grounds: Grounds, items: Sequence[pytest.Item]) -> Outcomes:
    """Run the scenes of these tests."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: pytest.Item) -> BaseException | None:
        function: Any = item.function  # type: ignore[attr-defined]  # a function has it
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        async with slots:
            try:
                async with World.open(grounds, **function.quotas) as world:
                    await function.scene(world=world, **parameters)
            except Exception as failure:
                return failure
        return None

    chosen = [item for item in items if hasattr(getattr(item, "function", None), "scene")]
    outcomes = await asyncio.gather(*map(one, chosen))
    return dict(zip([item.nodeid for item in chosen], outcomes, strict=True))
