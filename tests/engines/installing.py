"""Workflow engines in environments of their own, and images that have them: installed once, kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tesgw-engines"
# What its oldest packages are built with, where they are built at all.
BUILD_TOOLS = ("setuptools==56.2.0", "wheel==0.45.1")
OLD_BUILDS = {"cwl-tes": ("rdflib-jsonld", "ruamel-yaml")}
LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "idlelib", "tkinter", "ensurepip", "lib2to3"}


class NotInstallable(Exception):
    """This machine lacks something; the text says what."""


@dataclass(frozen=True)
class Installed:
    """An engine's own environment."""

    name: str
    home: Path

    def command(self, name: str) -> str:
        return str(self.home / "bin" / name)

    @property
    def path(self) -> str:
        """A PATH on which the engine comes first."""
        return f"{self.home / 'bin'}:{os.environ['PATH']}"


def install(name: str) -> Installed:
    """The engine, from the exact versions that its requirements name; at most one process installs it."""
    text = (REQUIREMENTS / f"{name}.txt").read_bytes()
    home = CACHE / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            # Scripts name their interpreter's path, so it is made in its place, and the mark comes last.
            shutil.rmtree(home, ignore_errors=True)
            _install(name, home)
            (home / "complete").touch()
    return Installed(name, home)


def _install(name: str, home: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise NotInstallable(f"{uv} is missing: pip install uv")
    run(str(uv), "venv", "--python", _python(), str(home))
    pip = (str(uv), "pip", "install", "--python", str(home / "bin/python"), "--no-deps")
    isolated = [f"--no-build-isolation-package={package}" for package in OLD_BUILDS.get(name, ())]
    if isolated:
        run(*pip, *BUILD_TOOLS)
    run(*pip, *isolated, "--requirement", str(REQUIREMENTS / f"{name}.txt"))


def _python() -> str:
    """The engines are older than this project: newer Pythons lack what some of them need."""
    for python in (sys.executable, "python3.11"):
        version = (
            subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
            if shutil.which(python)
            else None
        )
        if version and version.stdout.startswith("Python 3.11."):
            return python
    raise NotInstallable("Python 3.11 is missing, for which the engines' requirements are written.")


def rsync() -> str:
    """Snakemake's plugin for directories copies with it."""
    if not shutil.which("rsync"):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise NotInstallable("rsync is missing: install it.")
        quiet = ("apt-get", "install", "-qq", "-y", "--no-install-recommends", "rsync")
        if subprocess.run(quiet, capture_output=True, check=False).returncode != 0:
            run("apt-get", "update", "-q")
            run(*quiet)
    return str(shutil.which("rsync"))


def image(engine: Installed, tag: str = "latest", tools: tuple[str, ...] = (), **env: str) -> str:
    """An image that has the engine's Python and these tools, and on its PATH the engine, whose home is to be mounted."""
    name = f"tesgw-test-{engine.name}:{tag}"
    settings = {"PATH": f"{engine.home / 'bin'}:/usr/bin:/bin", **env}
    dockerfile = "FROM busybox\nADD root.tar /\n" + "".join(f"ENV {key}={value}\n" for key, value in settings.items())
    root = io.BytesIO()
    with tarfile.open(fileobj=root, mode="w") as tar:
        _add_python(tar, engine)
        for tool in tools:
            tar.add(os.path.realpath(tool), arcname=f"/bin/{Path(tool).name}")
            _add_libraries(tar, [Path(tool)])
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for member, content in (("Dockerfile", dockerfile.encode()), ("root.tar", root.getvalue())):
            header = tarfile.TarInfo(member)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"], input=context.getvalue(), capture_output=True, check=True
    )
    return name


def _add_python(tar: tarfile.TarFile, engine: Installed) -> None:
    """The interpreter and its library where they are here, so that the engine's environment finds them."""
    asked = "import os, sysconfig, sys; print(os.path.realpath(sys.executable), sysconfig.get_path('stdlib'), sep='\\n')"
    executable, library = run(engine.command("python"), "-c", asked).split()
    for link in {executable, *_links(engine.home / "bin/python")}:
        tar.add(executable, arcname=link)
    tar.add(library, filter=_wanted)
    compiled = [*Path(library, "lib-dynload").glob("*.so"), *engine.home.rglob("*.so")]
    _add_libraries(tar, [Path(executable), *(path for path in compiled if not path.name.startswith("_tkinter"))])


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = member.name.split("/")
    return None if LEFT_OUT & set(parts) or any(part.startswith("config-3") for part in parts) else member


def _links(path: Path) -> Iterator[str]:
    """Where a chain of symbolic links leads, step by step."""
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield str(path)


def _add_libraries(tar: tarfile.TarFile, binaries: Iterable[Path]) -> None:
    listed = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    for library in sorted(set(re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", listed, re.MULTILINE))):
        if not library.startswith(str(CACHE)):
            tar.add(os.path.realpath(library), arcname=library)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout
