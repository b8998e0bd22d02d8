"""Images: pulled when they are missing, once however many ask, with the credentials that Docker's own tool would use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiodocker

from tesgw.errors import StageError
from tesgw.runner.faults import is_down, is_status


@dataclass(frozen=True, slots=True)
class Registry:
    """A private registry from the settings; others are looked up in Docker's config.json and credential helpers."""

    url: str
    username: str
    password: str


class Images:
    """What images the engine has."""

    def __init__(self, engine: aiodocker.Docker, registry: Registry | None) -> None:
        self._docker = engine
        self._registry = registry
        self._pulls: dict[str, asyncio.Task[None]] = {}

    async def find(self, image: str) -> str | None:
        """The id of an image, or None if the engine lacks it."""
        try:
            found = await self._docker.images.inspect(image)
        except aiodocker.DockerError as error:
            if is_status(error, 404):
                return None
            raise
        return str(found["Id"])

    async def any(self) -> str | None:
        """The id of some image that is there."""
        images = await self._docker.images.list()
        return str(images[0]["Id"]) if images else None

    async def pull(self, image: str) -> None:
        """Have the engine fetch an image. StageError, with the registry's answer, if it cannot."""
        pull = self._pulls.get(image)
        if pull is None:
            pull = self._pulls[image] = asyncio.create_task(self._pull(image), name=f"pull {image}")
            pull.add_done_callback(lambda _: self._pulls.pop(image, None))
        # One waiter that goes away must not end the pull for the others.
        await asyncio.shield(pull)

    async def close(self) -> None:
        """End the pulls that are under way."""
        pulls = list(self._pulls.values())
        for pull in pulls:
            pull.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)

    async def _pull(self, image: str) -> None:
        from tesgw.runner import credentials  # half a second of CPU, which nobody needs who has the images

        try:
            name, auth = await asyncio.to_thread(credentials.look_up, image, self._registry)
            await self._docker.images.pull(name, auth=auth)
        except aiodocker.DockerError as error:
            if is_down(error):
                raise
            raise StageError(_sentence(image, error.message)) from error


def _sentence(image: str, answer: str) -> str:
    said = answer.lower()
    if "denied" in said or "unauthorized" in said or "authentication required" in said or "no basic auth" in said:
        advice = (
            "It does not exist or needs a login: check its name, or have the gateway's operator set "
            "PRIVATE_DOCKER_REGISTRY_URL, _USERNAME and _PASSWORD or run `docker login`."
        )
    elif "not found" in said or "manifest unknown" in said or "invalid reference" in said:
        advice = "Check its name and tag."
    else:
        advice = "Submit the task again when its registry can be reached, or name an image that the engine has."
    return f"The image {image} is missing here and cannot be pulled. {advice} The answer was: {answer.strip()}"
