"""Finds backends, holds each in a plugin manager of its own, and calls it through a typed facade."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import aiohttp
import pluggy

from tesgw.errors import BackendError, BackendFault, BackendRefused, BackendUnavailable
from tesgw.hookspecs import HOOKS, PROJECT, BackendSpec
from tesgw.model import Handle, Job, Layout, Observation, Task

log = logging.getLogger(__name__)

GROUP = "tesgw.backends"
HOOK_SECONDS = 30.0


def discover() -> dict[str, EntryPoint]:
    """The installed backends by name, none of them imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load_class(name: str) -> type[BackendSpec]:
    """Import the backend of this name. BackendError says what is installed, or why it does not load."""
    installed = discover()
    if name not in installed:
        raise BackendError(f"There is no backend {name!r}; installed are: {', '.join(sorted(installed)) or 'none'}.")
    try:
        loaded = installed[name].load()
    except Exception as error:
        raise BackendError(f"The backend {name!r} ({installed[name].value}) does not load: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, BackendSpec)):
        raise BackendError(f"The backend {name!r} ({installed[name].value}) is not a subclass of tesgw.BackendSpec.")
    return loaded


class Context:
    """What one backend is lent; see `BackendContext`."""

    def __init__(self, name: str, settings: Mapping[str, Any], changed: Callable[[Handle], None]) -> None:
        self.name = name
        self.settings = settings
        self.log = logging.getLogger(f"tesgw.backend.{name}")
        self.changed = changed
        self._http: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._callbacks: list[Callable[[], Coroutine[Any, Any, None]]] = []

    @property
    def http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())  # tasks of several users share it
        return self._http

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def on_close(self, callback: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._callbacks.append(callback)

    async def close(self) -> None:
        """Cancel and await what was spawned, then run the callbacks, then close the session."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for callback in reversed(self._callbacks):
            await callback()
        if self._http is not None:
            await self._http.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.log.error("background task failed", exc_info=error, extra={"spawned": task.get_name()})


class Backend:
    """One configured backend: its hooks as typed methods with a deadline, their errors translated and logged.

    Every method raises `BackendUnavailable` (or its kind `BackendFault`) or `BackendRefused`, and nothing else.
    """

    def __init__(self, name: str, spec: BackendSpec, context: Context) -> None:
        self.name = name
        self.spec = spec
        self._context = context
        self._hooks = _contain(name, spec)

    @property
    def storage(self) -> tuple[str, ...]:
        """URL prefixes of files the backend reads and writes, for service-info."""
        return tuple(self.spec.storage(self._context))

    async def filesystem_layout(self, task: Task) -> Layout:
        return cast(Layout, await self._call("filesystem_layout", task=task))

    async def submit(self, job: Job) -> Handle:
        return cast(Handle, await self._call("submit", job=job))

    async def poll(self, handles: Sequence[Handle]) -> Sequence[Observation]:
        return cast(Sequence[Observation], await self._call("poll", handles=handles))

    async def cancel(self, handle: Handle) -> None:
        await self._call("cancel", handle=handle)

    async def provision(self, request: Mapping[str, Any], report: Callable[[str], None]) -> Mapping[str, str]:
        """As the hook; without a deadline, for it may create accounts and machines."""
        return cast(Mapping[str, str], await self._translated("provision", request=request, report=report))

    async def close(self) -> None:
        await self._context.close()

    async def _call(self, hook: str, **arguments: Any) -> Any:
        try:
            async with asyncio.timeout(HOOK_SECONDS):
                return await self._translated(hook, **arguments)
        except TimeoutError:
            raise BackendUnavailable(f"The backend {self.name!r} did not answer {hook} in {HOOK_SECONDS:.0f} s.") from None

    async def _translated(self, hook: str, **arguments: Any) -> Any:
        try:
            return await getattr(self._hooks, hook)(ctx=self._context, **arguments)
        except (BackendUnavailable, BackendRefused):
            raise
        except Exception as error:
            log.exception("backend fault", extra={"backend": self.name, "hook": hook})
            raise BackendFault(f"The backend {self.name!r} failed in {hook}: {error!r}") from error


def _contain(name: str, spec: BackendSpec) -> Any:
    """A plugin manager for this backend alone: pluggy never awaits, so of several async plugins one would always win."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(BackendSpec)
    try:
        manager.register(spec, name=name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise BackendError(f"The backend {name!r} does not fit the hooks: {error}") from error
    missing = [hook for hook in HOOKS if not getattr(manager.hook, hook).get_hookimpls()]
    if missing:
        raise BackendError(f"The backend {name!r} lacks the hooks {', '.join(missing)} (is @hookimpl on them?)")
    return manager.hook
