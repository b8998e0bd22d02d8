"""How much of this machine tasks may ask for together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from tesgw import BackendRefused, Resources

TASKS_PER_CORE = 4
LEAST_TASKS = 8


@dataclass(frozen=True, slots=True)
class Need:
    """What one job asks for; nothing asked, nothing reserved."""

    cores: int
    ram_gb: float

    @classmethod
    def of(cls, resources: Resources) -> Need:
        return cls(resources.cpu_cores or 0, resources.ram_gb or 0.0)

    def __str__(self) -> str:
        return f"{self.cores} CPU cores and {self.ram_gb:.3g} GB of memory"


class Capacity:
    """The whole machine; first come, first served."""

    def __init__(self) -> None:
        cores = len(os.sched_getaffinity(0))
        self._total = Need(cores, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9)
        self._most = max(LEAST_TASKS, TASKS_PER_CORE * cores)

    def check(self, need: Need) -> None:
        """BackendRefused for what can never fit."""
        if not self._fits(need.cores, need.ram_gb):
            raise BackendRefused(f"The task asks for {need}, but this machine has {self._total}: ask for less.")

    def has_room(self, need: Need, running: Sequence[Need]) -> bool:
        """Whether a job may run beside these. One that asks for nothing has only to find a free place."""
        cores = need.cores and need.cores + sum(other.cores for other in running)
        ram_gb = need.ram_gb and need.ram_gb + sum(other.ram_gb for other in running)
        return len(running) < self._most and self._fits(cores, ram_gb)

    def reason(self, need: Need) -> str:
        """Why a job waits; the same while it waits, so that waiting costs no writes."""
        return (
            f"Waiting for capacity: asks for {need} of the {self._total} here; at most {self._most} tasks run at once. "
            "First come, first served."
        )

    def _fits(self, cores: int, ram_gb: float) -> bool:
        return cores <= self._total.cores and ram_gb <= self._total.ram_gb
