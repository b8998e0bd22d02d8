"""The test world of a backend, which its author provides beside the backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

GROUP = "tesgw.harnesses"


class Fault(Enum):
    """What can go wrong with the service or the machines that run a backend's jobs; the value says it."""

    SLOW = "Every answer of the service takes two seconds longer."
    THROTTLED = "The service refuses what it is asked as too many requests."
    REFUSING = "The service answers what it is asked with an error of its own."
    DOWN = "The service cannot be reached."
    NODE_LOST = "The machines that run jobs are gone, and what ran there with them."
    PREEMPTED = "The machines that may be taken away are, and what ran there with them."


class Harness(ABC):
    """Derive from this and name the class as an entry point of `tesgw.harnesses`, under the backend's name.

    The suite makes one instance for each run. Gateways work in this world one after the other, each with its own directory.
    """

    image: ClassVar[str]
    """An image that the backend can run: its user is root, and it has a POSIX shell and the usual tools (busybox does)."""
    gaps: ClassVar[Mapping[str, str]] = {}
    """Tests that the backend is known to fail, each with the reason: `test_files.py::test_x`, or with `[hooks]` or `[http]`
    behind it for one pass. They have to fail: a gap that has healed is to be removed."""
    patience_seconds: ClassVar[float] = 60.0
    """How long one test may take before it is a failure."""
    most_tasks: ClassVar[int] = 100
    """How many tasks the suite gives the backend at once."""
    storage_host: ClassVar[str] = "127.0.0.1"
    """The address of this machine under which whatever moves files for jobs reaches it: the suite serves files there."""
    zones: ClassVar[Sequence[str]] = ()
    """For backends that claim ZONES: those that tasks can be placed in."""
    provision_request: ClassVar[Mapping[str, Any]] = {}
    """A request that the backend's `provision` can carry out in this world."""

    async def start(self) -> None:  # noqa: B027 - some worlds need nothing
        """Find or install what the world needs, into a cache where it can be kept, and start it."""

    async def stop(self) -> None:  # noqa: B027 - nor have all something to end
        """End what `start` started."""

    @abstractmethod
    def settings(self, directory: Path) -> Mapping[str, Any]:
        """The settings of a gateway that keeps its files in `directory`, which exists."""

    @abstractmethod
    def shared_global(self, directory: Path) -> Path:
        """Where this machine has what the tasks of that gateway see as `/tes-wd/shared-global`."""

    @abstractmethod
    async def running(self, job_id: str) -> int:
        """How many executors of the job run now, told without asking the backend."""

    @abstractmethod
    async def left(self, directory: Path, job_id: str) -> Sequence[str]:
        """What there still is of the job, but for shared files: names of containers, directories, processes."""

    def impossible(self) -> Mapping[str, Any]:
        """TES resources that no task can ever get here."""
        return {"cpu_cores": 100_000, "ram_gb": 1_000_000.0}

    def fault(self, fault: Fault) -> AbstractAsyncContextManager[None]:
        """While it is entered, the world has this fault. Asked for by the capabilities SERVICE, NODES and PREEMPTIBLE."""
        raise NotImplementedError(f"The harness has no switch for: {fault.value}")

    async def other_image(self, kind: str) -> str:
        """For backends that run container images (IMAGES): an image made like `image`, but for one thing.

        `user`: its user is 1000, who has no name; `entrypoint`: it has the entrypoint `/bin/false`; `bare`: it holds nothing
        but the static program `/echo`; `filled`: its `/opt/app` holds the file `tool`.
        """
        raise NotImplementedError(f"The harness has no image of the kind {kind!r}.")


def load(name: str) -> Harness:
    """The harness that is installed under this name. LookupError says which there are, or what is wrong with it."""
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if name not in installed:
        there_are = ", ".join(sorted(installed)) or "none"
        raise LookupError(f"There is no harness {name!r} in the entry points {GROUP!r}; there are: {there_are}.")
    try:
        harness: Harness = installed[name].load()()
    except Exception as error:
        raise LookupError(f"The harness {name!r} ({installed[name].value}) does not load: {error!r}") from error
    return harness
