"""What this machine gives its runners, from the settings."""

from __future__ import annotations

from pathlib import Path

from tesgw import BackendContext, BackendUnavailable, Layout
from tesgw.errors import SettingsError
from tesgw.runner import Engine, EngineGone, Registry, Transfers, World
from tesgw.runner.files import Namespace
from tesgw_local.capacity import Admission, Need
from tesgw_local.settings import extra_mounts, file_roots, shared_global, work_dir

LEAST_TASKS = 8
TASKS_PER_CORE = 4


async def make_world(ctx: BackendContext) -> World:
    """Connect to the engine. Raises `EngineGone` if none answers; asked again, it tries again."""
    settings = ctx.settings
    shared = _made_shared(ctx)
    volumes = {Layout().shared_global: shared, **{str(mount): mount for mount in extra_mounts(settings)}}
    try:
        engine = await Engine.open(work_dir(settings), registry=_registry(ctx))
    except EngineGone as error:
        raise BackendUnavailable("No Docker engine answers: start it; `docker info` tells whether it runs.") from error
    ctx.on_close(engine.close)
    try:
        for volume in volumes.values():
            engine.host_path(volume)
    except SettingsError as error:
        raise BackendUnavailable(str(error)) from error
    return World(
        engine=engine,
        transfers=Transfers(http=lambda: ctx.http, files=_readable(ctx)),
        work_dir=work_dir(settings),
        volumes=volumes,
        network=settings["LOCAL_NETWORK"],
    )


def _made_shared(ctx: BackendContext) -> Path:
    """The shared directory, made for any user of any image to write in; one that exists stays as its owner has it."""
    shared = shared_global(ctx.settings)
    try:
        if not shared.exists():
            shared.mkdir(parents=True)
            shared.chmod(0o1777)
        is_open = shared.stat().st_mode & 0o002
    except OSError as error:
        raise BackendUnavailable(f"LOCAL_SHARED_GLOBAL_DIR={shared} cannot be used: {error.strerror}.") from error
    if not is_open:
        ctx.log.warning("images whose user is not root cannot write in the shared directory", extra={"directory": shared})
    return shared


def make_admission(ctx: BackendContext, world: World) -> Admission:
    """What the running tasks may ask for together: the settings, or else all that the engine has."""
    info = world.engine.info
    cores = ctx.settings["LOCAL_CPU_CORES"] or float(info.cpus)
    ram_gb = ctx.settings["LOCAL_RAM_GB"] or info.memory_bytes / 1e9
    most = ctx.settings["LOCAL_MAX_TASKS"] or max(LEAST_TASKS, TASKS_PER_CORE * info.cpus)
    return Admission(Need(cores, ram_gb), most)


def _readable(ctx: BackendContext) -> Namespace:
    """What `file://` URLs may name: the allowed roots, and the shared volume by the name that tasks know it by."""
    roots = {str(root): root for root in file_roots(ctx.settings)}
    for root in roots.values():
        if not root.is_dir():
            ctx.log.warning("a directory of LOCAL_FILE_ROOTS does not exist", extra={"directory": root})
    return Namespace({**roots, Layout().shared_global: shared_global(ctx.settings)})


def _registry(ctx: BackendContext) -> Registry | None:
    url, username, password = (ctx.settings[f"PRIVATE_DOCKER_REGISTRY_{part}"] for part in ("URL", "USERNAME", "PASSWORD"))
    return Registry(url, username, password) if url else None
