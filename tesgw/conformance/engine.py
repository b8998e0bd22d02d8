"""What harnesses of backends that run containers on a Docker engine of this machine have in common."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import aiodocker

_OTHER: Mapping[str, str] = {
    "user": "FROM {image}\nUSER 1000\n",
    "entrypoint": 'FROM {image}\nENTRYPOINT ["/bin/false"]\n',
    "filled": "FROM {image}\nRUN mkdir -p /opt/app && echo tool > /opt/app/tool\n",
    "bare": "FROM {image} AS full\nFROM scratch\nCOPY --from=full /bin/busybox /echo\n",
}


async def containers(docker: aiodocker.Docker, **filters: str) -> list[str]:
    """The ids of the containers that fit, whatever they do."""
    chosen = json.dumps({key: [value] for key, value in filters.items()})
    found: list[Any] = await docker.containers.list(all=True, filters=chosen)
    return [each.id for each in found]


async def running(docker: aiodocker.Docker, job_id: str) -> int:
    """How many containers of executors, as `tesgw.runner` names them, run for a job."""
    return len(await containers(docker, name=f"^/tesgw-{job_id}-", status="running"))


async def other_image(docker: aiodocker.Docker, image: str, kind: str) -> str:
    """As `Harness.other_image`: built from `image`, a busybox."""
    name = f"tesgw-conformance:{kind}"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        content = _OTHER[kind].format(image=image).encode()
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    context.seek(0)
    async for line in docker.images.build(fileobj=context, encoding="identity", tag=name, stream=True, rm=True):
        if "error" in line:
            raise RuntimeError(f"The image {name} cannot be built: {line['error']}")
    return name
