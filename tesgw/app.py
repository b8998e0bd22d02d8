"""START HERE: `create_app` wires the store, the backends, the scheduler and the API, in the order in which they start."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from tesgw import api
from tesgw.backends import Backend, Context, load_class
from tesgw.capabilities import Capability
from tesgw.errors import BackendError, SettingsError
from tesgw.hookspecs import BackendSpec
from tesgw.model import MissingOutputs
from tesgw.scheduler import Scheduler
from tesgw.settings import Settings
from tesgw.store import TaskStore

log = logging.getLogger(__name__)


async def create_app(
    settings: Settings, *, host: str = "127.0.0.1", specs: Mapping[str, type[BackendSpec]] | None = None
) -> web.Application:
    """The gateway as an aiohttp application, to be started: its cleanup closes what is opened here.

    `host` is what it will be bound to; `specs` gives backends that are not installed as entry points. Raises
    `SettingsError` for a database that cannot be used and `BackendError` for a configured backend that does not load.
    """
    async with AsyncExitStack() as opened:
        opened.callback(os.close, _lock(settings["LOCAL_WORK_DIR"]))
        store = await TaskStore.open(settings.database_uri)
        opened.push_async_callback(store.close)
        scheduler = Scheduler(store, time.time)
        backends = await _backends(settings, store, scheduler, specs or {})
        for backend in backends.values():
            opened.push_async_callback(backend.close)
        app = api.make_app(_service(settings, store, backends[settings["COMPUTE_BACKEND"]], scheduler, host))
        app.cleanup_ctx.append(partial(_running, scheduler=scheduler, backends=backends, opened=opened.pop_all()))
        return app


async def _backends(
    settings: Settings, store: TaskStore, scheduler: Scheduler, specs: Mapping[str, type[BackendSpec]]
) -> dict[str, Backend]:
    """The configured backend, which must load, and those that unfinished tasks are at, which should."""

    def make(name: str) -> Backend:
        spec = (specs[name] if name in specs else load_class(name))()
        # Settings are read for the configured backend; another one, which still holds tasks, has its own.
        own = settings if name == settings["COMPUTE_BACKEND"] else settings.extended(spec.settings)
        spec.check(own)
        return Backend(name, spec, Context(name, own, partial(scheduler.changed, name)))

    backends = {settings["COMPUTE_BACKEND"]: make(settings["COMPUTE_BACKEND"])}
    for name in set(await store.backends_in_use()) - set(backends):
        try:
            backends[name] = make(name)
        except (BackendError, SettingsError) as error:
            log.error("tasks wait for a backend that does not load", extra={"backend": name, "cause": str(error)})
    return backends


def _service(settings: Settings, store: TaskStore, backend: Backend, scheduler: Scheduler, host: str) -> api.Service:
    return api.Service(
        store=store,
        backend=backend.name,
        backend_parameters=backend.spec.backend_parameters,
        has_zones=Capability.ZONES in backend.spec.capabilities,
        has_preemptible=Capability.PREEMPTIBLE in backend.spec.capabilities,
        storage=backend.storage,
        missing_outputs=MissingOutputs(settings["MISSING_OUTPUTS"]) if settings["MISSING_OUTPUTS"] else None,
        site_name=settings["SITE_NAME"],
        organization_name=settings["ORGANIZATION_NAME"],
        organization_url=settings["ORGANIZATION_URL"],
        cors_origins=settings["CORS_ORIGINS"],
        is_loopback=_is_loopback(host),
        wake=scheduler.wake,
        now=lambda: datetime.now(UTC),
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def _running(
    app: web.Application, *, scheduler: Scheduler, backends: Mapping[str, Backend], opened: AsyncExitStack
) -> AsyncIterator[None]:
    async with opened:
        await scheduler.start(backends)
        yield
        await scheduler.stop()


def _lock(work_dir: Path) -> int:
    """Make the work directory and hold it for this process alone: two gateways would run every task twice."""
    try:
        # Closed to other users: tasks may leave programs with a setuid bit below it.
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(work_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"LOCAL_WORK_DIR={work_dir} cannot be used: {error.strerror}.") from error
    if work_dir.stat().st_mode & 0o077:
        log.warning("others can reach what tasks leave in the work directory: chmod 700", extra={"directory": work_dir})
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise SettingsError(
            f"Another gateway works in LOCAL_WORK_DIR={work_dir}: stop it, or name another directory."
        ) from error
    return lock
