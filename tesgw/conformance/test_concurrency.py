"""Many tasks at once: each is its own."""

from __future__ import annotations

import asyncio

from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.states import State


@rule(alone=True)
async def test_many_tasks_at_once_all_end_and_none_gets_anything_of_another(case: Case) -> None:
    """All write to the same paths, each what is its own."""
    names = [f"task-{n}" for n in range(case.harness.most_tasks)]

    async def run(name: str) -> tuple[State, str]:
        script = f"echo ran >>{case.shared_path}/{name}; echo {name} >>/tes-wd/out; cat /tes-wd/out"
        result = await case.run(case.sh(script), outputs=[{"path": "/tes-wd/out", "url": case.url(name)}])
        return result.state, result.stdout

    results = await asyncio.gather(*map(run, names))

    assert results == [(State.COMPLETE, f"{name}\n") for name in names]
    assert case.delivered == {name: f"{name}\n".encode() for name in sorted(names)}
    assert {case.ran(name) for name in names} == {1}
