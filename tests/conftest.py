"""What every test directory shares: the rule for tests that need a Docker engine."""

from __future__ import annotations

import os
from functools import cache

import pytest
from tesgw_local import machine as engine

from tests.clean import Clean


@cache
def _engine_problem() -> str:
    try:
        engine.check()
    except engine.NoEngine as problem:
        return str(problem)
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `engine` are skipped only where no engine can be had; where CI=true that is a failure."""
    if item.get_closest_marker("engine") is None or not _engine_problem():
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI has to run the tests that need an engine. {_engine_problem()}", pytrace=False)
    pytest.skip(_engine_problem())


@pytest.fixture(scope="session")
def busybox() -> str:
    """The one image that tests may count on: static busybox with its applets, user root, no entrypoint."""
    return engine.IMAGE


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """An environment with the wheels of this tree."""
    return Clean.make(tmp_path_factory.mktemp("clean"))
