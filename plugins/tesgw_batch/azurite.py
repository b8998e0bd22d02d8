"""Sees to Azurite, Microsoft's emulator of blob storage, and runs it: `python -m tesgw_batch.azurite` installs it.

What is there already is used. It is a package of npm, kept in the user's cache; as root on Debian and Ubuntu, a missing
Node.js is installed from the distribution.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

# Exactly: plain `npm install azurite` takes an older one on Node 20, which cannot verify what today's SDK signs.
VERSION = "3.37.0"
EXECUTABLE = Path("node_modules/.bin/azurite-blob")
FLAGS = (
    "--silent",
    "--disableTelemetry",
    "--skipApiVersionCheck",  # the SDK's is newer than those it knows
    "--inMemoryPersistence",
    "--blobHost=127.0.0.1",
    "--blobPort=0",
)
# Ends Azurite when its standard input does: also when this process is killed, and on every system.
END_WITH_INPUT = "--import=data:text/javascript,process.stdin.resume().on('end',process.exit)"
START_SECONDS = 60

_LISTENS = re.compile(r"successfully listens on (https?://\S+)")


class NoAzurite(Exception):
    """It cannot be had or does not start; the text is a sentence that says what to do."""


def ensure() -> Path:
    """The executable, installed if it is missing, by one process at a time. Raises `NoAzurite` where it cannot be had."""
    if given := os.environ.get("TESGW_AZURITE"):
        if not os.access(given, os.X_OK):
            raise NoAzurite(f"TESGW_AZURITE is {given}, which cannot be run: name azurite-blob of Azurite {VERSION}.")
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tesgw"
    home = cache / f"azurite-{VERSION}"
    _need_node()
    if not (home / EXECUTABLE).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with home.with_name(f"{home.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (home / EXECUTABLE).exists():
                _install(home)
    return home / EXECUTABLE


@contextlib.asynccontextmanager
async def running(directory: Path, account: str, key: str, *, options: Sequence[str] = ()) -> AsyncIterator[str]:
    """An empty blob storage with that account on a port of this machine; its URL ends in the account's name.

    It forgets everything when the context ends. `directory` takes its messages; `options` are further ones of Azurite's.
    Raises `NoAzurite`.
    """
    executable = await asyncio.to_thread(ensure)
    node_options = f"{os.environ.get('NODE_OPTIONS', '')} {END_WITH_INPUT}"
    environment = os.environ | {"AZURITE_ACCOUNTS": f"{account}:{key}", "NODE_OPTIONS": node_options}
    with _log(directory) as log:
        server = await asyncio.create_subprocess_exec(
            executable,
            *FLAGS,
            *options,
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # an interrupt from the keyboard is for those who use it, who may want it to the end
        )
    try:
        yield f"{await _address(server, directory)}/{account}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.communicate()


def _log(directory: Path, mode: Literal["wb", "rb"] = "wb") -> BinaryIO:
    directory.mkdir(parents=True, exist_ok=True)
    return (directory / "azurite.log").open(mode)


async def _address(server: asyncio.subprocess.Process, directory: Path) -> str:
    assert server.stdout
    try:
        async with asyncio.timeout(START_SECONDS):
            async for line in server.stdout:
                if found := _LISTENS.search(line.decode()):
                    return found[1]
    except TimeoutError:
        raise NoAzurite(f"Azurite does not answer {START_SECONDS} s after its start.") from None
    with _log(directory, "rb") as log:
        reason = log.read().decode(errors="replace").strip() or "it said nothing"
    raise NoAzurite(f"Azurite does not start on this machine: {reason}")


def _need_node() -> None:
    if shutil.which("node") and shutil.which("npm"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoAzurite("Azurite needs Node.js 20 or newer with npm: install them (https://nodejs.org/en/download).")
    install = ("apt-get", "install", "-q", "-y", "--no-install-recommends", "nodejs", "npm")
    print("Installing Node.js from the distribution", flush=True)
    if _run(*install).returncode != 0:
        _run("apt-get", "update", "-q")  # a clean machine has no package lists, an old one has stale ones
        _succeed("Node.js could not be installed", *install)


def _install(home: Path) -> None:
    print(f"Installing Azurite {VERSION} into {home}", flush=True)
    with tempfile.TemporaryDirectory(dir=home.parent, ignore_cleanup_errors=True) as temporary:
        new = Path(temporary, home.name)
        new.mkdir()
        _succeed(
            "Azurite could not be installed",
            *("npm", "install", "--prefix", str(new), "--no-fund", "--no-audit", f"azurite@{VERSION}"),
        )
        shutil.rmtree(home, ignore_errors=True)
        new.rename(home)


def _succeed(failure: str, *command: str) -> None:
    done = _run(*command)
    if done.returncode != 0:
        reason = done.stderr.strip() or f"exit code {done.returncode}"
        raise NoAzurite(f"{failure}; `{' '.join(command)}` says: {reason}")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False)


def main() -> int:
    try:
        print(ensure())
    except NoAzurite as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
