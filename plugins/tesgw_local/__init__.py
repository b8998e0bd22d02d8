"""The local backend: tasks run in containers of this machine's Docker engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

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
from tesgw_local.settings import SETTINGS, extra_mounts, file_roots
from tesgw_local.yard import Yard


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What `provision` can be asked for."""

    images: list[str] = []


class LocalBackend(BackendSpec):
    """Five short hooks over the runner; what they share is the yard, opened at first use."""

    settings: ClassVar[Sequence[Setting]] = SETTINGS
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.IMAGES, Capability.SERVICE})

    def __init__(self) -> None:
        self._yard: Yard | None = None
        self._opening = asyncio.Lock()

    def storage(self, ctx: BackendContext) -> Sequence[str]:
        """The directories that `file://` URLs may name; no extra mounts, for Toil would copy a job store it saw here."""
        roots = (*file_roots(ctx.settings), Layout().shared_global)
        return [*(f"file://{root}" for root in roots), "http://", "https://"]

    @hookimpl
    async def filesystem_layout(self, ctx: BackendContext, task: Task) -> Layout:
        return Layout(outliving=(Layout().shared_global, *map(str, extra_mounts(ctx.settings))))

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        return await (await self._open(ctx)).submit(job)

    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        yard = await self._open(ctx)
        return [yard.observe(handle) for handle in handles]

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        await (await self._open(ctx)).cancel(handle)

    @hookimpl
    async def provision(
        self, ctx: BackendContext, request: Mapping[str, Any], report: Callable[[str], None]
    ) -> Mapping[str, str]:
        """Have the images here that `request["images"]` names: those that are missing are pulled."""
        try:
            wanted = msgspec.convert(request, Wanted)
        except msgspec.ValidationError as error:
            raise BackendRefused(f'What can be asked for is {{"images": ["name:tag", ...]}}: {error}.') from error
        yard = await self._open(ctx)
        for image in wanted.images:
            report(f"looking for {image}")
            await yard.have(image, report)
        return {}

    async def _open(self, ctx: BackendContext) -> Yard:
        async with self._opening:
            if self._yard is None:
                self._yard = await Yard.open(ctx)
            return self._yard
