from __future__ import annotations

import os

import pytest

from tests.image.base import NoBase
from tests.image.building import build


@pytest.fixture(scope="session")
def node_image() -> str:
    """The image built from this tree; skipped where its base cannot be had, but never in CI."""
    try:
        return build()
    except NoBase as problem:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has to build the image. {problem}", pytrace=False)
        pytest.skip(str(problem))
