"""Ending jobs and removing what they leave: containers by their labels, then files, whoever owns them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from tesgw.errors import StageError
from tesgw.runner.container import owner_config
from tesgw.runner.removal import remove_tree
from tesgw.runner.settle import settled
from tesgw.runner.world import JobDir, World, launcher


async def discard(world: World, job_id: str) -> None:
    """End a job, whatever it does, and remove all it has; returns when it is gone. For an unknown job: nothing.

    Its runner has to have ended or been cancelled before. Raises `EngineGone` if the engine does not come back.
    """
    await remove_containers(world, job_id)
    await remove_files(world, job_id)
    await _remove(world, job_id, JobDir.of(world.work_dir, job_id).path)


async def sweep(world: World, keep: Callable[[str], bool]) -> None:
    """Remove the containers of jobs that are not kept: what a crash, or an engine that was away, left running."""
    for container_id, job_id in await world.engine.containers():
        if not keep(job_id):
            await world.engine.remove(container_id)


async def remove_containers(world: World, job_id: str) -> None:
    """End and remove all containers of a job."""
    found = await world.engine.containers(job_id)
    await asyncio.gather(*(world.engine.remove(container_id) for container_id, _ in found))


async def remove_files(world: World, job_id: str) -> None:
    """Remove all of a job's files but its status."""
    directory = JobDir.of(world.work_dir, job_id)
    for path in (directory.tree, directory.captured, directory.streams):
        await _remove(world, job_id, path)


async def own(world: World, job_id: str, path: Path) -> None:
    """Give all below a directory to this process's user, who cannot read or remove what root left there."""
    if os.geteuid() == 0:
        return
    engine = world.engine
    image = await engine.patiently("an image was being looked for", engine.images.any)
    if image is None:
        raise StageError(f"Files of other users in {path} cannot be removed: the Docker engine has no image to do it with.")
    launch = engine.host_path(launcher(world.work_dir, engine.info.architecture))
    config = owner_config(image, engine.host_path(path), launch, os.geteuid(), os.getegid())
    container_id = await settled(engine.create(None, job_id, config))
    try:
        ended = engine.exits.expect(container_id)
        await engine.start(container_id, is_new=True)
        await ended
    finally:
        await settled(engine.remove(container_id))


async def _remove(world: World, job_id: str, path: Path) -> None:
    try:
        await asyncio.to_thread(remove_tree, path)
    except PermissionError:
        await own(world, job_id, path)
        await asyncio.to_thread(remove_tree, path)
