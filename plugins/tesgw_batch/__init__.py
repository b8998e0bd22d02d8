"""The Azure Batch backend: tasks run in containers on the nodes of a Batch account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from tesgw import (
    BackendContext,
    BackendRefused,
    BackendSpec,
    Capability,
    Handle,
    Job,
    Layout,
    Observation,
    Setting,
    Task,
    hookimpl,
)
from tesgw.errors import SettingsError
from tesgw_batch.settings import PARAMETERS, SETTINGS, required, storage_url

if TYPE_CHECKING:
    from tesgw_batch.fleet import Fleet


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What `provision` can be asked for: a pool, before the first task needs it."""

    vm_size: str
    preemptible: bool = False


class BatchBackend(BackendSpec):
    """Five short hooks over the fleet, which is opened at first use."""

    settings: ClassVar[Sequence[Setting]] = SETTINGS
    backend_parameters: ClassVar[Mapping[str, str]] = PARAMETERS
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability)

    def __init__(self) -> None:
        self._opening: asyncio.Task[Fleet] | None = None

    def check(self, settings: Mapping[str, Any]) -> None:
        """Ask for what is missing, the Azure SDKs among it."""
        if missing := required(settings):
            raise SettingsError(f"The Azure Batch backend needs {', '.join(missing)}: set them (APP_… in the environment).")
        try:
            from tesgw_batch.mapping import image_parts
        except ImportError as error:
            raise SettingsError(f"The Azure Batch backend needs its SDKs: pip install 'tesgw[batch]' ({error}).") from error
        image_parts(settings["BATCH_NODE_IMAGE"])
        if settings["BATCH_LEASE_SECONDS"] > 60:
            raise SettingsError("BATCH_LEASE_SECONDS is at most 60: Azure Storage gives no longer leases.")

    def storage(self, ctx: BackendContext) -> Sequence[str]:
        """The storage account, whose blobs need no signature, and the directory that all tasks share."""
        account = ctx.settings["STORAGE_ACCOUNT_NAME"]
        shared = Layout().shared_global
        return [f"{storage_url(ctx.settings)}/", f"az://{account}/", f"file://{shared}", "http://", "https://"]

    @hookimpl
    async def filesystem_layout(self, ctx: BackendContext, task: Task) -> Layout:
        return Layout()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        return await (await self._open(ctx)).submit(job)

    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        fleet = await self._open(ctx)
        return [fleet.observe(handle) for handle in handles]

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        await (await self._open(ctx)).cancel(handle)

    @hookimpl
    async def provision(
        self, ctx: BackendContext, request: Mapping[str, Any], report: Callable[[str], None]
    ) -> Mapping[str, str]:
        """Have a pool for tasks of `request["vm_size"]`, so that the first one does not wait for it."""
        try:
            wanted = msgspec.convert(request, Wanted)
        except msgspec.ValidationError as error:
            raise BackendRefused(f'What can be asked for is {{"vm_size": …, "preemptible": …}}: {error}.') from error
        report("connecting to Azure Batch")
        fleet = await self._open(ctx)
        report(f"making a pool of {wanted.vm_size}")
        await fleet.warm(wanted.vm_size, is_spot=wanted.preemptible)
        return {}

    async def _open(self, ctx: BackendContext) -> Fleet:
        """The fleet. Opening outlasts the hook that began it, whose deadline may be too short for thousands of jobs."""
        from tesgw_batch.world import open_fleet

        if self._opening is None:
            ctx.on_close(self._end_opening)
        if self._opening is None or (self._opening.done() and (self._opening.cancelled() or self._opening.exception())):
            self._opening = asyncio.create_task(open_fleet(ctx), name="open the Batch account")
        return await asyncio.shield(self._opening)

    async def _end_opening(self) -> None:
        if self._opening:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
