"""A backend that runs tasks as processes in Linux namespaces, for machines without any container engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from tesgw import BackendContext, BackendRefused, BackendSpec, Handle, Job, Layout, Observation, Setting, Task, hookimpl
from tesgw_process.machine import SETTINGS, Machine
from tesgw_process.yard import Yard


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What `provision` can be asked for: tar archives of root file systems, by the names of the images they become."""

    images: dict[str, str] = {}


class ProcessBackend(BackendSpec):
    """Five short hooks; what they share is the yard, opened at first use."""

    settings: ClassVar[Sequence[Setting]] = SETTINGS

    def __init__(self) -> None:
        self._yard: Yard | None = None

    def storage(self, ctx: BackendContext) -> Sequence[str]:
        roots = (*Machine.of(ctx.settings).file_roots, Layout().shared_global)
        return [*(f"file://{root}" for root in roots), "http://", "https://"]

    @hookimpl
    async def filesystem_layout(self, ctx: BackendContext, task: Task) -> Layout:
        return Layout()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        return self._open(ctx).submit(job)

    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        yard = self._open(ctx)
        return [yard.observe(handle) for handle in handles]

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        await self._open(ctx).cancel(handle)

    @hookimpl
    async def provision(
        self, ctx: BackendContext, request: Mapping[str, Any], report: Callable[[str], None]
    ) -> Mapping[str, str]:
        """Unpack the images that are missing."""
        try:
            wanted = msgspec.convert(request, Wanted)
        except msgspec.ValidationError as error:
            raise BackendRefused(
                f'What can be asked for is {{"images": {{"name": "rootfs.tar", ...}}}}: {error}.'
            ) from error
        machine = Machine.of(ctx.settings)
        for name, archive in wanted.images.items():
            report(f"unpacking {name}")
            await asyncio.to_thread(machine.unpack, name, archive)
        return {}

    def _open(self, ctx: BackendContext) -> Yard:
        if self._yard is None:
            self._yard = Yard.open(ctx, Machine.of(ctx.settings))
        return self._yard
