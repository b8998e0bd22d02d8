"""Provisioning: what it is asked for is there afterwards, and what it does not understand it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.conformance.through_hooks import hooks_of
from tesgw.errors import BackendRefused


@rule(only="hooks")
async def test_a_request_is_carried_out_and_may_be_repeated(case: Case) -> None:
    backend, request = hooks_of(case).backend, case.harness.provision_request
    assert request, "The harness has to have a request."
    steps: list[str] = []

    changes = await backend.provision(request, steps.append)
    again = await backend.provision(request, steps.append)

    assert again == changes
    assert all(isinstance(part, str) for item in changes.items() for part in item)
    assert all(isinstance(step, str) and step.strip() for step in steps)
    assert steps, "Whoever waits wants to know what for."


@rule(only="hooks")
async def test_a_request_that_makes_no_sense_is_refused(case: Case) -> None:
    request = case.harness.provision_request
    senseless: list[Mapping[str, Any]] = [{"no such thing": ["x"]}, *({**request, key: {"no": [None]}} for key in request)]
    for each in senseless:
        with pytest.raises(BackendRefused, match=r"\w+ \w+"):
            await hooks_of(case).backend.provision(each, lambda step: None)
