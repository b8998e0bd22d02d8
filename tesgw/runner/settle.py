"""Awaiting what must not be left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def settled(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await to the end even if cancelled, and be cancelled then: for what the engine does whether we listen or not."""
    task = asyncio.ensure_future(coroutine)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at, or asyncio complains that nobody did
        raise


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Await them at the same time. The first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
