from __future__ import annotations

import time
from typing import Any

import pytest
from tesgw_batch.sizes import GIB_IN_GB, VmSize, catalogue, choose

from tesgw import BackendRefused, Resources


def chosen(*, spot: bool = False, allowed: tuple[str, ...] = (), vm_size: str = "", **asked: Any) -> str:
    parameters = {"vm_size": vm_size} if vm_size else {}
    resources = Resources(backend_parameters=parameters, **asked)
    return choose(resources, spot=spot, allowed=allowed).name


def refusal(*, spot: bool = False, allowed: tuple[str, ...] = (), vm_size: str = "", **asked: Any) -> str:
    with pytest.raises(BackendRefused) as caught:
        chosen(spot=spot, allowed=allowed, vm_size=vm_size, **asked)
    return str(caught.value)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({}, "standard_d2a_v4"),
        ({"cpu_cores": 0, "ram_gb": 0.0, "disk_gb": 0.0}, "standard_d2a_v4"),
        ({"cpu_cores": 3}, "standard_d4a_v4"),
        ({"ram_gb": 7.7}, "standard_d2a_v4"),
        ({"ram_gb": 8}, "standard_e2a_v4"),
        ({"ram_gb": 16}, "standard_e2a_v4"),
        ({"cpu_cores": 3, "ram_gb": 16.2}, "standard_e4a_v4"),
        ({"disk_gb": 42}, "standard_d2a_v4"),
        ({"disk_gb": 43}, "standard_d2d_v4"),
        ({"cpu_cores": 4, "ram_gb": 14, "disk_gb": 96}, "standard_d4a_v4"),
        ({"cpu_cores": 416, "ram_gb": 11000}, "standard_m416ms_v2"),
    ],
)
def test_the_cheapest_size_that_fits_is_chosen(asked: dict[str, Any], name: str) -> None:
    assert chosen(**asked) == name


def test_no_cheaper_size_would_have_done() -> None:
    for spot in (False, True):
        for cores, ram_gb, disk_gb in ((1, 2, 10), (7, 30, 200), (33, 300, 100), (90, 60, 3000), (20, 1500, 10)):
            size = choose(Resources(cpu_cores=cores, ram_gb=ram_gb, disk_gb=disk_gb), spot=spot, allowed=())
            fits = [
                s for s in catalogue() if s.vcpus >= cores and s.ram_gb >= ram_gb and s.disk_gb >= disk_gb and not s.gpus
            ]

            assert size in fits
            assert price(size, spot) == min(price(other, spot) for other in fits)
            assert size.name == min(other.name for other in fits if price(other, spot) == price(size, spot))


def price(size: VmSize, spot: bool) -> float:
    return (size.spot_usd or 1e9) if spot else size.dedicated_usd


def test_spot_prices_decide_about_spot_nodes() -> None:
    assert chosen(allowed=("standard_e8ads_v5", "standard_e8d_v4")) == "standard_e8ads_v5"
    assert chosen(allowed=("standard_e8ads_v5", "standard_e8d_v4"), spot=True) == "standard_e8d_v4"


def test_a_task_never_gets_all_the_memory_or_disk_of_its_node() -> None:
    for size in catalogue():
        assert 0.5 < size.mem_gib * GIB_IN_GB - size.ram_gb < 0.04 * size.mem_gib * GIB_IN_GB + 0.6
        assert size.disk_gb > 10
        assert size.disk_gb < (size.disk_gib - 9) * GIB_IN_GB


@pytest.mark.parametrize("name", ["standard_nc4as_t4_v3", "Standard_NC4as_T4_v3", "standard_d96ads_v5"])
def test_a_named_size_wins_whatever_else_is_asked(name: str) -> None:
    assert chosen(vm_size=name) == name.lower()
    assert chosen(vm_size=name, cpu_cores=1000, ram_gb=1e6, spot=True) == name.lower()


def test_sizes_with_a_gpu_are_for_tasks_that_name_them() -> None:
    gpus = tuple(size.name for size in catalogue() if size.gpus)

    assert gpus
    assert "named by vm_size" in refusal(allowed=gpus)
    assert chosen(allowed=gpus, vm_size=gpus[0]) == gpus[0]


@pytest.mark.parametrize("allowed", [("standardDADSv5Family",), ("STANDARDDADSV5FAMILY", "no"), ("Standard_D8ads_v5",)])
def test_only_what_the_setting_allows_is_chosen(allowed: tuple[str, ...]) -> None:
    assert chosen(cpu_cores=5, allowed=allowed) == "standard_d8ads_v5"
    assert "BATCH_VM_SIZES" in refusal(allowed=allowed, vm_size="standard_e8ads_v5")
    assert "BATCH_VM_SIZES allows can give a task 97 CPU cores" in refusal(allowed=allowed, cpu_cores=97)


def test_a_family_whose_name_has_spaces_can_be_allowed() -> None:
    assert chosen(allowed=("Standard NCASv3_T4 Family",), vm_size="standard_nc4as_t4_v3") == "standard_nc4as_t4_v3"


def test_what_fits_nowhere_is_refused_with_the_nearest_size() -> None:
    assert refusal(cpu_cores=500, ram_gb=64) == (
        "No VM size can give a task 500 CPU cores, 64 GB of memory and 10 GB of disk; the nearest, standard_m416s_v2, can "
        "give it 416 CPU cores, 5936 GB of memory and 8785 GB of disk."
    )
    assert "standard_m416ms_v2" in refusal(ram_gb=20000)
    assert refusal(ram_gb=20000.5, spot=True).startswith("No Spot VM size can give a task 1 CPU core, 20000.5 GB of memory")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("standard_d4ads_v6", "standard_d4ads_v5"),
        ("d4ads_v5", "standard_d4ads_v5"),
        ("Standard_D4_ads_v5", "standard_d4ads_v5"),
    ],
)
def test_an_unknown_size_is_refused_with_the_nearest_names(wrong: str, right: str) -> None:
    assert right in refusal(vm_size=wrong)


def test_names_that_the_setting_rules_out_are_not_proposed() -> None:
    assert "standard_d4ads_v5" not in refusal(vm_size="standard_d4ads_v6", allowed=("standardEADSv5Family",))


def test_every_size_is_named_as_azure_wants_it_and_listed_once() -> None:
    names = [size.name for size in catalogue()]

    assert len(names) > 100
    assert names == sorted(set(names))
    assert all(name == name.lower() and name.startswith("standard_") for name in names)
    assert all(0 < (size.spot_usd or 0.001) < size.dedicated_usd for size in catalogue())


def test_choosing_keeps_up_with_ten_thousand_tasks_a_second() -> None:
    resources = Resources(cpu_cores=400, ram_gb=10000)
    choose(resources, spot=False, allowed=("standardMSv2Family",))
    choose(resources, spot=False, allowed=())
    started = time.process_time()
    for _ in range(1000):
        choose(resources, spot=False, allowed=())

    assert time.process_time() - started < 0.1
