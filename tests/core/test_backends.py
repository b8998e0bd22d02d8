from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from tesgw import (
    BackendContext,
    BackendError,
    BackendRefused,
    BackendSpec,
    BackendUnavailable,
    Handle,
    Job,
    Layout,
    Observation,
    Task,
    backends,
    hookimpl,
)
from tesgw.backends import Backend, Context
from tesgw.errors import BackendFault


class Whole(BackendSpec):
    """A backend with all hooks; `error` is what submit and cancel raise."""

    error: BaseException | None = None

    @hookimpl
    async def filesystem_layout(self, ctx: BackendContext, task: Task) -> Layout:
        return Layout()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        if self.error:
            raise self.error
        return Handle("h")

    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        await asyncio.Event().wait()
        return ()

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        return None

    @hookimpl
    async def provision(
        self, ctx: BackendContext, request: Mapping[str, Any], report: Callable[[str], None]
    ) -> Mapping[str, str]:
        return {"name": ctx.name}


class WithoutHooks(BackendSpec):
    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        return Handle("h")


class Misspelt(Whole):
    @hookimpl
    async def submitt(self, ctx: BackendContext, job: Job) -> Handle:
        return Handle("h")


def facade(spec: BackendSpec, name: str = "b") -> Backend:
    return Backend(name, spec, Context(name, {}, lambda handle: None))


def job() -> Any:
    return None


async def test_hooks_of_several_backends_do_not_mask_each_other() -> None:
    first, second = facade(Whole(), "first"), facade(Whole(), "second")

    assert await first.provision({}, print) == {"name": "first"}
    assert await second.provision({}, print) == {"name": "second"}


@pytest.mark.parametrize("error", [BackendUnavailable("later"), BackendRefused("never")])
async def test_the_contract_s_errors_pass_through(error: BackendError) -> None:
    spec = Whole()
    spec.error = error

    with pytest.raises(type(error), match=str(error)):
        await facade(spec).submit(job())


async def test_any_other_error_is_a_fault_of_the_backend_with_its_cause() -> None:
    spec = Whole()
    spec.error = KeyError("surprise")

    with pytest.raises(BackendFault, match="'b' failed in submit") as caught:
        await facade(spec).submit(job())
    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_hook_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "HOOK_SECONDS", 0.01)

    with pytest.raises(BackendUnavailable, match="did not answer poll"):
        await facade(Whole()).poll([])


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [(WithoutHooks(), "lacks the hooks filesystem_layout, poll, cancel, provision"), (Misspelt(), "submitt")],
)
def test_a_backend_that_does_not_fit_the_hooks_is_refused(spec: BackendSpec, sentence: str) -> None:
    with pytest.raises(BackendError, match=sentence):
        facade(spec)


def test_an_unknown_backend_is_answered_with_the_installed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "discover", lambda: {"local": None, "batch": None})

    with pytest.raises(BackendError, match="'slurm'; installed are: batch, local"):
        backends.load_class("slurm")


@pytest.mark.parametrize(
    ("value", "sentence"), [("no_such_module:X", "does not load: No module"), ("tesgw.model:Task", "not a subclass")]
)
def test_a_backend_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch, value: str, sentence: str) -> None:
    monkeypatch.setattr(backends, "discover", lambda: {"x": EntryPoint("x", value, backends.GROUP)})

    with pytest.raises(BackendError, match=sentence):
        backends.load_class("x")


async def test_closing_ends_what_was_spawned_before_it_runs_the_callbacks() -> None:
    context = Context("b", {}, lambda handle: None)
    order: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append("task")

    async def callback(name: str) -> None:
        order.append(name)

    context.spawn(forever(), name="forever")
    context.on_close(lambda: callback("first"))
    context.on_close(lambda: callback("second"))
    await asyncio.sleep(0)
    await context.close()

    assert order == ["task", "second", "first"]
