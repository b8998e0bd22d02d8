"""The contract between the gateway and a compute backend: five async hooks, idempotent on the job id."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pluggy

from tesgw.capabilities import Capability
from tesgw.model import Handle, Job, Layout, Observation, Setting, Task

if TYPE_CHECKING:
    import aiohttp  # 0.2 s, which every run of pytest would pay: this module comes with the conformance suite's plugin

PROJECT = "tesgw"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class BackendContext(Protocol):
    """What the gateway lends one configured backend. The first argument of every hook; a backend keeps no globals."""

    name: str
    settings: Mapping[str, Any]
    """All settings, the backend's own among them, typed, by name."""
    log: logging.Logger

    @property
    def http(self) -> aiohttp.ClientSession:
        """The gateway's HTTP session, made at first use and closed by the gateway."""

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a background task that the gateway owns: cancelled and awaited at the stop, its failure logged."""

    def on_close(self, callback: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await `callback` when the gateway stops, last registered first, after spawned tasks have ended."""

    def changed(self, handle: Handle) -> None:
        """Have this job polled at once. A hint: polling alone must be correct."""


class BackendSpec:
    """Derive from this, implement the hooks with `@hookimpl`, and name the class as an entry point of `tesgw.backends`.

    The gateway makes one instance per configured backend. Hooks may raise `BackendUnavailable` (ask again later) or
    `BackendRefused` (the task fails with this text); anything else counts as a fault of the backend, retried a few times.
    """

    settings: ClassVar[Sequence[Setting]] = ()
    backend_parameters: ClassVar[Mapping[str, str]] = {}
    """`tesResources.backend_parameters` keys it understands, in lower case, each with a sentence."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    """What the backend has beyond the contract: the conformance suite tries the rules that stand for what it claims."""

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings with which nothing could run: raises `SettingsError`, which stops the start. Not a hook."""

    def storage(self, ctx: BackendContext) -> Sequence[str]:
        """URL prefixes that inputs and outputs may use, for service-info. Not a hook: core asks the instance."""
        return ()

    @hookspec(firstresult=True)
    async def filesystem_layout(self, ctx: BackendContext, task: Task) -> Layout:
        """Say where the `/tes-wd` directories are in this task's executors, and the environment they see. Has no effects."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        """Take the job and return a handle that survives a restart of the gateway. Returns before the job runs.

        Called again with the same job id, also by a restarted gateway, it returns the same handle, adopts what runs and
        starts nothing twice. Raises `BackendRefused` for a job that can never run here.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        """Say how these jobs are, one observation each, in any order; UNKNOWN for a job that is not the backend's.

        States only go forward. A terminal observation is complete (all exit codes, sizes and tails), is the same every
        time, and is kept until `cancel`. Waiting is an observation with a `reason`.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        """End the job, whatever it does, and forget it and all it left.

        Works from `job_id` alone, for the answer of `submit` may be lost. May return before everything has stopped; until
        then `poll` answers with a state that is not terminal, then CANCELED or UNKNOWN. For a job that has ended it
        releases what was kept of it. Again, or for an unknown job: nothing.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def provision(
        self, ctx: BackendContext, request: Mapping[str, Any], report: Callable[[str], None]
    ) -> Mapping[str, str]:
        """Create what the backend needs, as `request` asks; `report` takes the step it is at. Returns settings to change.

        Repeating a request continues or confirms it. The form of `request` is the backend's own.
        """
        raise NotImplementedError


HOOKS = ("filesystem_layout", "submit", "poll", "cancel", "provision")
