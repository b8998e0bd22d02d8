from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Gateway


def _ended(gateway: Gateway) -> None:
    if gateway.process and gateway.process.poll() is None:
        gateway.stop()
    gateway.remove_containers()


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for all tests that do not mind each other's tasks."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    gateway.start()
    yield gateway
    _ended(gateway)


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    return shared_gateway


@pytest.fixture
def make_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Gateways of a test's own, with these settings; started."""
    made: list[Gateway] = []

    def make(**settings: str) -> Gateway:
        home = tmp_path / f"gateway-{len(made)}"
        home.mkdir()
        made.append(Gateway(home, settings))
        made[-1].start()
        return made[-1]

    yield make
    for gateway in made:
        _ended(gateway)
