"""What goes wrong with an engine, told apart: it is away, or it says no."""

from __future__ import annotations

import errno
import logging

import aiodocker
import aiohttp

from tesgw.errors import BackendUnavailable, TesgwError

log = logging.getLogger(__name__)

# aiodocker's own status for a connection that failed (0.27, docker.py).
_NO_CONNECTION = 900


class EngineGone(BackendUnavailable):
    """The engine did not answer for longer than the grace allows."""

    def __init__(self, meanwhile: str) -> None:
        super().__init__(
            f"The Docker engine stopped answering while {meanwhile}. "
            "Whoever runs this gateway can see to it (`docker info`); then submit the task again."
        )


def is_down(error: Exception) -> bool:
    """Whether an error means that the engine is away rather than that it refuses."""
    if isinstance(error, aiodocker.DockerError):
        return error.status == _NO_CONNECTION
    return isinstance(error, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError))


def is_status(error: Exception, *statuses: int) -> bool:
    """Whether the engine answered with one of these HTTP statuses."""
    return isinstance(error, aiodocker.DockerError) and error.status in statuses


def explain(error: Exception, job_id: str) -> str:
    """The sentence for the user whose task this error ends."""
    if isinstance(error, TesgwError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk of the gateway's work directory is full. Its operator can make room; then submit the task again."
    log.error("runner failed", extra={"job": job_id}, exc_info=error)
    said = error.message if isinstance(error, aiodocker.DockerError) else f"{type(error).__name__}: {error}"
    return f"The gateway could not go on with this task; its log says more. The reason was: {said}"
