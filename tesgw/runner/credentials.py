"""The credentials that Docker's own tool would use for an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker.auth
import docker.errors

from tesgw.errors import StageError
from tesgw.runner.images import Registry


def look_up(image: str, private: Registry | None) -> tuple[str, dict[str, Any] | None]:
    """The image's name as aiodocker wants it, and its registry's credentials if there are any; StageError if it is no name.

    Reads files and runs credential helpers, so it belongs in a thread.
    """
    try:
        registry, remote = docker.auth.resolve_repository_name(image)
        auth = _of_registry(registry, private)
    except docker.errors.DockerException as error:
        raise StageError(f"The image {image} cannot be pulled: {error}.") from error
    return (_with_host(registry, remote) if auth else image), auth


def _of_registry(registry: str, private: Registry | None) -> dict[str, Any] | None:
    if private and docker.auth.resolve_index_name(private.url) == registry:
        return {"username": private.username, "password": private.password}
    found: Mapping[str, Any] | None = docker.auth.load_config().resolve_authconfig(registry)
    # The engine takes the keys in lower case; the SDK writes those from helpers and tokens in Go's way.
    return {key.lower(): value for key, value in found.items()} if found else None


def _with_host(registry: str, remote: str) -> str:
    """aiodocker takes credentials only for names that hold a registry; Docker Hub's are mostly written without (0.27)."""
    if registry == docker.auth.INDEX_NAME and "/" not in remote:
        remote = f"library/{remote}"
    return f"{registry}/{remote}"
