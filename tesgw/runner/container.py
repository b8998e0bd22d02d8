"""What the engine is told about an executor's container. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tesgw.model import Executor, Job, Resources
from tesgw.runner.engine import STOP_GRACE_SECONDS

PIDS_LIMIT = 4096
_LAUNCH = "/.tesgw/launch"
_SMALLEST_MEMORY = 6 * 2**20  # the engine refuses less (moby, daemon/daemon_unix.go)
_GB = 10**9


def stream_path(executor: Executor, name: str) -> str:
    """Where an executor writes its `stdout` or `stderr`, as a path of its container."""
    named = executor.stdout if name == "stdout" else executor.stderr
    return named or f"/.tesgw/{name}"


def executor_config(job: Job, index: int, mounts: Mapping[str, str], launcher: str, network: str) -> dict[str, Any]:
    """The container of an executor; `mounts` maps container paths to the engine's host paths."""
    executor = job.executors[index]
    stdin = ["-i", executor.stdin] if executor.stdin else []
    streams = ["-o", stream_path(executor, "stdout"), "-e", stream_path(executor, "stderr")]
    config = {
        "Image": executor.image,
        "Cmd": ["exec", *stdin, *streams, "--", *executor.command],
        "Env": [f"{name}={value}" for name, value in executor.env.items()],
        "HostConfig": {
            **_host_config(mounts, launcher, network),
            **_limits(job.resources),
            "PidsLimit": PIDS_LIMIT,
            "SecurityOpt": ["no-new-privileges"],
        },
        **_LAUNCHED,
    }
    if executor.workdir:
        config["WorkingDir"] = executor.workdir
    return config


def owner_config(image: str, directory: str, launcher: str, uid: int, gid: int) -> dict[str, Any]:
    """A container that gives everything below a host directory to a user of the host."""
    return {
        "Image": image,
        "User": "0",
        "Cmd": ["own", str(uid), str(gid), "/.tesgw/own"],
        "HostConfig": _host_config({"/.tesgw/own": directory}, launcher, "none"),
        **_LAUNCHED,
    }


def probe_config(image: str) -> dict[str, Any]:
    """A container that is never started: something to look into an image with."""
    return {"Image": image, "Cmd": ["-"], "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}}}


# The image's entrypoint and health check have no part in a task; the launcher opens the streams itself.
_LAUNCHED = {
    "Entrypoint": [_LAUNCH],
    "Healthcheck": {"Test": ["NONE"]},
    "StopSignal": "SIGTERM",
    "StopTimeout": STOP_GRACE_SECONDS,
}


def _host_config(mounts: Mapping[str, str], launcher: str, network: str) -> dict[str, Any]:
    binds = [{"Type": "bind", "Source": source, "Target": target} for target, source in mounts.items()]
    return {
        "Mounts": [{"Type": "bind", "Source": launcher, "Target": _LAUNCH, "ReadOnly": True}, *binds],
        "Init": True,
        "NetworkMode": network,
        "LogConfig": {"Type": "none"},
    }


def _limits(resources: Resources) -> dict[str, int]:
    limits = {}
    if resources.cpu_cores:
        limits["NanoCpus"] = resources.cpu_cores * _GB
    if resources.ram_gb:
        memory = max(int(resources.ram_gb * _GB), _SMALLEST_MEMORY)
        limits |= {"Memory": memory, "MemorySwap": memory}  # the same: no swap beside it
    return limits
