"""What to mount over an image: looked up in the image, once for each directory that jobs name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path, PurePosixPath

from tesgw.model import Job
from tesgw.runner import archive, mounts
from tesgw.runner.container import probe_config
from tesgw.runner.engine import Engine, ImageMissing
from tesgw.runner.settle import settled

_MOST_ANSWERS = 10_000


async def plan(engine: Engine, job: Job, volumes: Mapping[str, Path], image: str) -> mounts.Plan:
    """The mounts of executors of this image. Asks the engine only if the job names directories of its own.

    Raises `ImageMissing`, or StageError for what has no place in the image.
    """
    image_id = await engine.image_id(image) if mounts.candidates(job, volumes) else ""
    if image_id is None:
        raise ImageMissing(image)
    async with _looking_into(engine, job.id, image_id) as is_filled:
        return await mounts.plan(job, volumes, is_filled)


@contextlib.asynccontextmanager
async def _looking_into(engine: Engine, job_id: str, image_id: str) -> AsyncIterator[Callable[[str], Awaitable[bool]]]:
    """A question about directories of the image, answered from memory or from a container that is never started."""
    container_id = ""

    async def look(path: str) -> bool:
        nonlocal container_id
        if (image_id, path) not in engine.filled:
            container_id = container_id or await settled(engine.create(None, job_id, probe_config(image_id)))
            if len(engine.filled) == _MOST_ANSWERS:
                engine.filled.clear()
            engine.filled[image_id, path] = await archive.is_filled(engine, container_id, path)
        return engine.filled[image_id, path]

    async def is_filled(path: str) -> bool:
        # From the top: engines name a new directory in each task, but always below the same one.
        above = [str(parent) for parent in PurePosixPath(path).parents]
        for directory in (*reversed(above[:-1]), path):
            if not await look(directory):
                return False
        return True

    try:
        yield is_filled
    finally:
        if container_id:
            await settled(engine.remove(container_id))
