from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.e2e.client import Gateway
from tests.engines import installing
from tests.engines.running import Lab

Install = Callable[[str], installing.Installed]


@pytest.fixture(scope="session")
def install() -> Install:
    """Install an engine; skipped where that cannot be, but never in CI."""

    def installed(name: str) -> installing.Installed:
        try:
            return installing.install(name)
        except installing.NotInstallable as problem:
            missing(str(problem))

    return installed


def missing(problem: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI has to run the engines. {problem}", pytrace=False)
    pytest.skip(problem)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One gateway for all engines, with a directory for URLs and one that every task sees."""
    home = tmp_path_factory.mktemp("engines")
    (home / "mounted").mkdir()
    installing.CACHE.mkdir(parents=True, exist_ok=True)
    mounts = [str(home / "mounted"), str(installing.CACHE)]
    # Engines ask for whole cores; none of theirs is to wait for another's.
    gateway = Gateway(home, {"LOCAL_EXTRA_MOUNTS": json.dumps(mounts), "LOCAL_CPU_CORES": "8"})
    gateway.start()
    made = Lab(gateway, home / "mounted")
    yield made
    made.close()
    gateway.stop()
    gateway.remove_containers()


@pytest.fixture
def directory(lab: Lab, request: pytest.FixtureRequest) -> Path:
    """A directory of the test's own that every task sees at the same path."""
    made: Path = lab.mounted / request.node.name
    made.mkdir()
    return made
