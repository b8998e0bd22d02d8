"""What to mount over an image: looked up in the image, once for each path that jobs name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from tesgw.model import Job
from tesgw.runner import archive, links, mounts
from tesgw.runner.container import probe_config
from tesgw.runner.engine import Engine, ImageMissing, Look
from tesgw.runner.links import Links
from tesgw.runner.settle import settled

_MOST_ANSWERS = 10_000


async def find_links(engine: Engine, job: Job, volumes: Mapping[str, Path], image: str) -> Links:
    """The image's links on the way to what the job names; none of a job that names nothing. Raises as `plan` does."""
    async with _looking_into(engine, job.id, image) as look:
        return await _find_links(job, volumes, look)


async def plan(engine: Engine, job: Job, volumes: Mapping[str, Path], image: str, places: Links) -> mounts.Plan:
    """The mounts of executors of this image; `places` are the links of all images. Asks the engine only if it must.

    Raises `ImageMissing`, or StageError for what has no place in the image.
    """
    async with _looking_into(engine, job.id, image) as look:
        return await mounts.plan(job, volumes, look, await _find_links(job, volumes, look), places)


async def _find_links(job: Job, volumes: Mapping[str, Path], look: Callable[[str], Awaitable[Look]]) -> Links:
    if not mounts.are_named(job, volumes):
        return {}
    return await links.find((*mounts.always(job), *sorted(volumes)), mounts.candidates(job, volumes), look)


@contextlib.asynccontextmanager
async def _looking_into(engine: Engine, job_id: str, image: str) -> AsyncIterator[Callable[[str], Awaitable[Look]]]:
    """A question about paths of the image, answered from memory or from a container that is never started."""
    container_id = image_id = ""

    async def look(path: str) -> Look:
        nonlocal container_id, image_id
        image_id = image_id or await _id(engine, image)
        if (image_id, path) not in engine.looks:
            container_id = container_id or await settled(engine.create(None, job_id, probe_config(image_id)))
            if len(engine.looks) == _MOST_ANSWERS:
                engine.looks.clear()
            engine.looks[image_id, path] = await archive.look(engine, container_id, path)
        return engine.looks[image_id, path]

    try:
        yield look
    finally:
        if container_id:
            await settled(engine.remove(container_id))


async def _id(engine: Engine, image: str) -> str:
    image_id = await engine.image_id(image)
    if image_id is None:
        raise ImageMissing(image)
    return image_id
