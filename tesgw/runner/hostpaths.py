"""Bind sources are paths on the engine's host; a gateway that runs in a container itself has to translate its own."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tesgw import paths
from tesgw.errors import SettingsError

# Docker mounts files of its own for a container's names: /var/lib/docker/containers/<id>/hostname (moby, all versions). Only
# at these places are they this process's: on the engine's host, mounts of any container show up now and then.
_OWN_ID = re.compile(r"/containers/([0-9a-f]{64})/\S+ /etc/(?:hostname|hosts|resolv\.conf) ")
_CGROUP_ID = re.compile(r"\b([0-9a-f]{64})\b")


class HostPaths:
    """From a path of this process to one of the engine's host. Without mounts, the two are the same."""

    def __init__(self, mounts: Mapping[str, str] | None = None) -> None:
        self._mounts = mounts

    @classmethod
    def of_container(cls, mounts: Sequence[Mapping[str, Any]]) -> HostPaths:
        """For a process in a container; `mounts` as its inspection shows them."""
        return cls({mount["Destination"]: mount["Source"] for mount in mounts})

    def __call__(self, path: Path) -> str:
        """The host's name for `path`. SettingsError, naming the missing `-v`, if the host cannot reach it."""
        real = str(path.resolve())
        if self._mounts is None:
            return real
        fitting = [destination for destination in self._mounts if paths.is_within(real, destination)]
        if not fitting:
            raise SettingsError(
                f"The gateway runs in a container, and {real} is not mounted from the host, where the Docker engine "
                f"would look for it. Start the gateway's container with -v /directory/on/host:{real}"
            )
        destination = max(fitting, key=len)
        return self._mounts[destination].rstrip("/") + real[len(destination.rstrip("/")) :]


def own_container_ids() -> list[str]:
    """What the container of this process may be called; nothing if it does not seem to be in one."""
    if not Path("/.dockerenv").exists():
        return []
    found = container_ids(_text("/proc/self/mountinfo"), _text("/proc/self/cgroup"))
    return list(dict.fromkeys([*found, socket.gethostname()]))


def container_ids(mountinfo: str, cgroup: str) -> list[str]:
    """The containers that these two files of a process speak of as its own."""
    return _OWN_ID.findall(mountinfo) + _CGROUP_ID.findall(cgroup)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
