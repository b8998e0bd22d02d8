"""Every setting of the gateway, once: its type, its default, and why one would change it.

Read from `settings.toml` in the working directory, overridden by environment variables `APP_NAME`.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tesgw.errors import SettingsError
from tesgw.model import Setting

log = logging.getLogger(__name__)

PREFIX = "APP_"

SETTINGS = (
    Setting(
        name="COMPUTE_BACKEND",
        type=str,
        default="local",
        why="The backend that new tasks go to: the name of an entry point in the group `tesgw.backends`.",
    ),
    Setting(
        name="SQLALCHEMY_DATABASE_URI",
        type=str,
        default="",
        why="Where tasks are kept. Empty: SQLite in `LOCAL_WORK_DIR`.",
        secret=True,
    ),
    Setting(name="SITE_NAME", type=str, default="tesgw", why="The name of this service in service-info."),
    Setting(
        name="ORGANIZATION_NAME", type=str, default="tesgw", why="Who runs this service, for people who read service-info."
    ),
    Setting(
        name="ORGANIZATION_URL",
        type=str,
        default="https://example.org",
        why="The web page of who runs this service, for service-info.",
    ),
    Setting(
        name="CORS_ORIGINS",
        type=tuple,
        default=(),
        why="Origins whose web pages may use this gateway, such as `https://portal.example.org`; `*` is every one.",
    ),
    Setting(
        name="MISSING_OUTPUTS",
        type=str,
        default="",
        choices=("", "error", "warn"),
        why="What a declared output that does not exist does: `error` ends the task as SYSTEM_ERROR, `warn` notes it in "
        "the system logs. Empty: `warn` for tasks posted under `/v1`, whose engines declare optional outputs, else `error`.",
    ),
    Setting(
        name="LOCAL_WORK_DIR",
        type=Path,
        default=Path("tesgw-data"),
        why="Where the gateway keeps its database and the files of running tasks; give it the disk that tasks need.",
    ),
    Setting(
        name="PRIVATE_DOCKER_REGISTRY_URL",
        type=str,
        default="",
        why="A registry that wants a login. Others are logged in to as Docker's own `config.json` says.",
    ),
    Setting(name="PRIVATE_DOCKER_REGISTRY_USERNAME", type=str, default="", why="The user name for that registry."),
    Setting(
        name="PRIVATE_DOCKER_REGISTRY_PASSWORD", type=str, default="", why="The password for that registry.", secret=True
    ),
)


class Settings(Mapping[str, Any]):
    """The values of all declared settings, typed and checked, and where each came from."""

    def __init__(
        self,
        declared: Sequence[Setting],
        values: Mapping[str, Any],
        sources: Mapping[str, str],
        again: Callable[[Sequence[Setting]], Settings],
    ) -> None:
        self.secrets = frozenset(setting.name for setting in declared if setting.secret)
        self.sources = MappingProxyType(dict(sources))
        self._values = MappingProxyType(dict(values))
        self._declared = tuple(declared)
        self._again = again

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def extended(self, more: Sequence[Setting]) -> Settings:
        """These settings and more, read where these were. Raises as `load` does."""
        return self._again((*self._declared, *more))

    @property
    def database_uri(self) -> str:
        """The database to use, the default filled in."""
        return self["SQLALCHEMY_DATABASE_URI"] or f"sqlite+aiosqlite:///{self['LOCAL_WORK_DIR'].absolute()}/tesgw.db"


def load(declared: Sequence[Setting] = SETTINGS, *, file: Path | None = None, backend: str = "") -> Settings:
    """Read `file` (`settings.toml` if there is one) and the environment; `backend` is whose settings are among the declared.

    SettingsError names the setting, its source and what is wrong with it.
    """
    if file and not file.exists():
        raise SettingsError(f"The settings file {file} does not exist.")
    found = _read(file or Path("settings.toml"))
    known = {setting.name: setting for setting in declared}
    for name, (_, source) in found.items():
        if name not in known and not _belongs_to_another(backend, name):
            _refuse_unknown(name, source, known)
    values = {name: _typed(setting, *found[name]) if name in found else setting.default for name, setting in known.items()}
    sources = {name: found[name][1] if name in found else "default" for name in known}
    return Settings(declared, values, sources, partial(load, file=file, backend=backend))


def of_values(declared: Sequence[Setting], values: Mapping[str, Any]) -> Settings:
    """Settings from values given in code; all others have their defaults."""
    unknown = sorted(set(values) - {setting.name for setting in declared})
    if unknown:
        raise SettingsError(f"There is no setting {unknown[0]}.")
    merged = {setting.name: values.get(setting.name, setting.default) for setting in declared}
    sources = {name: "code" if name in values else "default" for name in merged}
    return Settings(declared, merged, sources, partial(of_values, values=values))


def _read(file: Path) -> dict[str, tuple[Any, str]]:
    from dynaconf import Dynaconf  # type: ignore[import-untyped]  # 50 ms, and only `serve` and `settings` read any

    try:
        parsed = Dynaconf(settings_files=[str(file.absolute())], environments=False, core_loaders=["TOML"], loaders=[])
        from_file = {name: value for name, value in parsed.as_dict().items() if name.isupper()}
        environment = Dynaconf(envvar_prefix=PREFIX.rstrip("_"), environments=False, settings_files=[])
        from_environment = dict(environment.as_dict())
    except Exception as error:  # dynaconf lets the TOML parser's own errors through
        raise SettingsError(f"{file} cannot be read: {error}") from error
    found = {name: (value, str(file)) for name, value in from_file.items()}
    # An image may set what it was built without, to nothing.
    given = ((name, value) for name, value in from_environment.items() if value != "" or name not in found)
    found |= {name: (value, f"environment variable {PREFIX}{name}") for name, value in given}
    return found


def _belongs_to_another(backend: str, name: str) -> bool:
    """A backend that is installed but not in use declares its own settings, most of which its name is the prefix of."""
    others = {point.name: point for point in entry_points(group="tesgw.backends") if point.name != backend}
    return any(name.startswith(other.upper() + "_") or name in _declared_by(point) for other, point in others.items())


def _declared_by(backend: EntryPoint) -> set[str]:
    try:
        return {setting.name for setting in backend.load().settings}
    except Exception:  # whatever is wrong with it: it is not in use
        return set()


def _refuse_unknown(name: str, source: str, known: Mapping[str, Setting]) -> None:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    if source.startswith("environment") and not near:
        log.warning("unknown setting ignored", extra={"setting": name, "source": source})
        return
    hint = f" Did you mean {near[0]}?" if near else ""
    raise SettingsError(f"{name} from {source} is not a setting.{hint}")


def _typed(setting: Setting, value: Any, source: str) -> Any:
    if source.startswith("environment") and setting.type in (str, Path):
        # dynaconf reads environment values as TOML: a password of 1e5 would come back as 100000.0.
        value = os.environ[PREFIX + setting.name]
    try:
        typed = _cast(setting.type, value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{setting.name} from {source}: {error}") from error
    if setting.least is not None and typed < setting.least:
        raise SettingsError(f"{setting.name} from {source}: {typed!r} is less than {setting.least:g}")
    if setting.choices and typed not in setting.choices:
        allowed = ", ".join(choice or "(empty)" for choice in setting.choices)
        raise SettingsError(f"{setting.name} from {source}: {typed!r} is none of {allowed}")
    return typed


def _cast(kind: type, value: Any) -> Any:
    if kind is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise TypeError(f"{value!r} is not a list of strings")
        return tuple(str(item).strip() for item in items if str(item).strip())
    if kind is bool and not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    if kind in (int, float) and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{value!r} is not a number")
    if kind is int and value != int(value):
        raise TypeError(f"{value!r} is not a whole number")
    return kind(value)
