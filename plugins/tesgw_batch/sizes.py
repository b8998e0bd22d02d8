"""Which VM size a task gets: the cheapest that fits. Pure, from the facts in data/vm_sizes.tsv."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources as package_files

from tesgw import BackendRefused, Resources

GIB_IN_GB = 1024**3 / 1000**3

# The kernel keeps page tables and the like, which grow with the memory; the OS, Batch's agent, Docker and the runner come to
# about half a gibibyte on every node. Without this headroom a task that uses what it asked for has them killed.
KERNEL_SHARE = 0.03
SYSTEM_GIB = 0.5

# The local disk holds Docker's images and Batch's own files beside the files of the task.
IMAGES_GIB = 10

DEFAULT_CORES = 1
DEFAULT_RAM_GB = 2.0
DEFAULT_DISK_GB = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSize:
    """One of Azure's VM sizes. Prices are per hour and serve to compare."""

    name: str
    """In lower case, as Batch takes it."""
    family: str
    """As Azure names the family in quotas."""
    vcpus: int
    mem_gib: float
    disk_gib: float
    gpus: int
    dedicated_usd: float
    spot_usd: float | None
    """None: there are no Spot nodes of this size."""

    @property
    def ram_gb(self) -> float:
        """What a task can have of the memory."""
        return (self.mem_gib * (1 - KERNEL_SHARE) - SYSTEM_GIB) * GIB_IN_GB

    @property
    def disk_gb(self) -> float:
        """What a task can have of the local disk."""
        return (self.disk_gib - IMAGES_GIB) * GIB_IN_GB

    def price_usd(self, *, spot: bool) -> float | None:
        return self.spot_usd if spot else self.dedicated_usd


@dataclass(frozen=True, slots=True)
class _Offer:
    """A size with what is compared over and over."""

    size: VmSize
    cores: int
    ram_gb: float
    disk_gb: float

    def fits(self, need: _Need) -> bool:
        return self.cores >= need.cores and self.ram_gb >= need.ram_gb and self.disk_gb >= need.disk_gb

    def share(self, need: _Need) -> float:
        """How much there is of what is scarcest, from 0 to 1."""
        return min(1.0, self.cores / need.cores, self.ram_gb / need.ram_gb, self.disk_gb / need.disk_gb)

    def __str__(self) -> str:
        return f"{self.size.name}, can give it {_amounts(self.cores, int(self.ram_gb), int(self.disk_gb))}"


@dataclass(frozen=True, slots=True)
class _Need:
    cores: int
    ram_gb: float
    disk_gb: float

    @classmethod
    def of(cls, resources: Resources) -> _Need:
        return cls(
            resources.cpu_cores or DEFAULT_CORES, resources.ram_gb or DEFAULT_RAM_GB, resources.disk_gb or DEFAULT_DISK_GB
        )

    def __str__(self) -> str:
        return _amounts(self.cores, self.ram_gb, self.disk_gb)


@cache
def catalogue() -> tuple[VmSize, ...]:
    """All sizes that tesgw knows, by name."""
    lines = package_files.files("tesgw_batch").joinpath("data/vm_sizes.tsv").read_text("utf-8").splitlines()
    _, *rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return tuple(sorted(map(_size, rows), key=lambda size: size.name))


def choose(resources: Resources, *, spot: bool, allowed: Collection[str]) -> VmSize:
    """The cheapest size that has what the task asks for, or the very one it names in `backend_parameters`.

    `allowed` holds sizes and families, in any case; empty: all. Sizes with a GPU are for tasks that name them. Raises
    `BackendRefused` with the reason and what would do.
    """
    names = tuple(allowed)
    if wanted := resources.backend_parameters.get("vm_size"):
        return _named(wanted.lower(), spot, names)
    need = _Need.of(resources)
    offers = _offers(spot, names)
    for offer in offers:
        if offer.fits(need):
            return offer.size
    raise BackendRefused(_reason(need, offers, spot, names))


def _named(name: str, spot: bool, allowed: tuple[str, ...]) -> VmSize:
    size = _by_name().get(name)
    if size is None:
        near = difflib.get_close_matches(name, [size.name for size in _permitted(allowed)], cutoff=0)
        hint = f" The nearest are {', '.join(near)}." if near else ""
        raise BackendRefused(f"tesgw knows no VM size {name!r}.{hint}")
    if size not in _permitted(allowed):
        raise BackendRefused(f"The VM size {name} is not one that the setting BATCH_VM_SIZES allows.")
    if size.price_usd(spot=spot) is None:
        raise BackendRefused(f"There are no Spot nodes of the VM size {name}: ask for it with preemptible=false.")
    return size


def _reason(need: _Need, offers: tuple[_Offer, ...], spot: bool, allowed: tuple[str, ...]) -> str:
    which = f"{'Spot ' if spot else ''}VM size{' that the setting BATCH_VM_SIZES allows' if allowed else ''}"
    if not offers:
        return f"There is no {which} for tasks that name none; sizes with a GPU have to be named by vm_size."
    nearest = max(offers, key=lambda offer: offer.share(need))
    return f"No {which} can give a task {need}; the nearest, {nearest}."


def _amounts(cores: int, ram_gb: float, disk_gb: float) -> str:
    return f"{cores} CPU core{'s' if cores != 1 else ''}, {ram_gb:.12g} GB of memory and {disk_gb:.12g} GB of disk"


@lru_cache(maxsize=64)
def _offers(spot: bool, allowed: tuple[str, ...]) -> tuple[_Offer, ...]:
    """What is chosen from by price: the first that fits is the one."""

    def priced() -> Iterator[tuple[float, str, VmSize]]:
        for size in _permitted(allowed):
            price = size.price_usd(spot=spot)
            if price is not None and not size.gpus:
                yield price, size.name, size

    ordered = sorted(priced(), key=lambda item: item[:2])
    return tuple(_Offer(size, size.vcpus, size.ram_gb, size.disk_gb) for _, _, size in ordered)


@lru_cache(maxsize=64)
def _permitted(allowed: tuple[str, ...]) -> tuple[VmSize, ...]:
    names = {name.lower() for name in allowed}
    return tuple(size for size in catalogue() if not names or size.name in names or size.family.lower() in names)


@cache
def _by_name() -> dict[str, VmSize]:
    return {size.name: size for size in catalogue()}


def _size(row: list[str]) -> VmSize:
    name, family, vcpus, mem_gib, disk_gib, gpus, dedicated, spot = row
    return VmSize(
        name=name,
        family=family,
        vcpus=int(vcpus),
        mem_gib=float(mem_gib),
        disk_gib=float(disk_gib),
        gpus=int(gpus),
        dedicated_usd=float(dedicated),
        spot_usd=float(spot) if spot else None,
    )
