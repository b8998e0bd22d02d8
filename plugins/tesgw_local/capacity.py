"""Who runs now and who waits: first come first served, by what tasks ask for."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from tesgw import BackendRefused, Resources


@dataclass(frozen=True, slots=True)
class Need:
    """What one job asks for; nothing asked, nothing reserved."""

    cores: float = 0.0
    ram_gb: float = 0.0

    @classmethod
    def of(cls, resources: Resources) -> Need:
        return cls(float(resources.cpu_cores or 0), resources.ram_gb or 0.0)

    def __str__(self) -> str:
        return f"{self.cores:g} CPU cores and {self.ram_gb:g} GB of memory"


class Admission:
    """The jobs that wait, in the order of their ids (which is the order of their creation), and the room for them.

    Nobody overtakes a job that waits for what he asks for too; who asks for nothing has only to find a free place.
    """

    def __init__(self, total: Need, most: int) -> None:
        self.total = total
        self.most = most
        self._asking: list[tuple[str, Need]] = []
        self._modest: list[tuple[str, Need]] = []
        self._running: dict[str, Need] = {}

    def check(self, need: Need) -> None:
        """BackendRefused for what can never fit."""
        if need.cores > self.total.cores or need.ram_gb > self.total.ram_gb:
            raise BackendRefused(
                f"The task asks for {need}, but this gateway has {self.total}: ask for less, "
                "or raise LOCAL_CPU_CORES or LOCAL_RAM_GB if the machine has more."
            )

    def wait(self, job_id: str, need: Need) -> None:
        """Put the job in line."""
        bisect.insort(self._line(need), (job_id, need), key=lambda item: item[0])

    def take(self, job_id: str, need: Need) -> None:
        """Count a job that runs already."""
        self._running[job_id] = need

    def release(self, job_id: str, need: Need) -> None:
        """The job no longer waits or runs."""
        if self._running.pop(job_id, None) is None and (job_id, need) in self._line(need):
            self._line(need).remove((job_id, need))

    def admit(self) -> str | None:
        """The first in line for whom there is room; it counts as running then."""
        if len(self._running) >= self.most:
            return None
        firsts = [line[0] for line in (self._asking, self._modest) if line and self._fits(line[0][1])]
        if not firsts:
            return None
        job_id, need = min(firsts, key=lambda item: item[0])
        self._running[job_id] = self._line(need).pop(0)[1]
        return job_id

    def reason(self, need: Need) -> str:
        """Why a job waits; the same while it waits, so that waiting costs no writes."""
        return (
            f"Waiting for capacity: asks for {need} of the {self.total} here, where at most {self.most} tasks run at once; "
            "first come, first served."
        )

    def _line(self, need: Need) -> list[tuple[str, Need]]:
        return self._asking if need.cores or need.ram_gb else self._modest

    def _fits(self, need: Need) -> bool:
        cores = need.cores + sum(running.cores for running in self._running.values())
        ram_gb = need.ram_gb + sum(running.ram_gb for running in self._running.values())
        return (not need.cores or cores <= self.total.cores) and (not need.ram_gb or ram_gb <= self.total.ram_gb)
