"""Sees to the image that the Dockerfile builds on: `python -m tests.image.base`.

What the engine has is used. Where no registry answers, as root on Debian and Ubuntu, a stand-in takes its name: Debian's
Python, without what only Debian's own maintainer scripts would set up. It carries a label, and `docker rmi` removes it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"
LABEL = "tesgw.stand-in=true"
SUITE = "bookworm"  # the oldest whose Python will do
SHELL = ("base-files", "base-passwd", "coreutils", "dash", "findutils", "grep", "sed")
PACKAGES = (*SHELL, "libstdc++6", "python3", "python3-pip")  # wheels count on the library
TOOLS = ("mmdebstrap", "debian-archive-keyring")  # the latter is missing on Ubuntu
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Of pip's own settings: whence packages come.
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")


class NoBase(Exception):
    """There is no such image to be had; the text is a sentence that says what to do."""


def ensure() -> str:
    """The image's name; afterwards the engine has it. Raises `NoBase` where that cannot be had."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found, f"{DOCKERFILE} names no PYTHON_IMAGE"
    name = found[1]
    if not (_succeeds("docker", "image", "inspect", name) or _succeeds("docker", "pull", "--quiet", name)):
        _make(name)
    return name


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _make(name: str) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoBase(f"No registry answers, and only root on Debian or Ubuntu can make a stand-in: docker pull {name}")
    print(f"No registry answers: making a stand-in for {name} of Debian's packages", flush=True)
    _install_tools()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root.tar"
        pip = Path(directory) / "pip.conf"
        pip.write_text(_pip_settings())
        _run(*_debootstrap(root, pip))
        _run("docker", "import", "--change", f"LABEL {LABEL}", "--change", 'CMD ["python3"]', str(root), name)


def _install_tools() -> None:
    install = ("apt-get", "install", "-qq", "-y", "--no-install-recommends", *TOOLS)
    if not shutil.which("mmdebstrap") and not _succeeds(*install):
        _run("apt-get", "update", "-q")
        _run(*install)


def _debootstrap(root: Path, pip: Path) -> tuple[str, ...]:
    """Unpacked only: that takes a third of the time, and the build and the gateway miss nothing."""
    hooks = (
        f'mkdir -p "$1/etc/ssl/certs"; cp {CERTIFICATES} "$1{CERTIFICATES}"',  # the way out may have an authority of its own
        f'cp {pip} "$1/etc/pip.conf"',
        'for file in passwd group; do cp "$1/usr/share/base-passwd/$file.master" "$1/etc/$file"; done',
    )
    return (
        *("mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(PACKAGES)}"),
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        *(f"--dpkgopt=path-exclude=/usr/share/{unread}/*" for unread in ("doc", "locale", "man")),
        *(f"--extract-hook={hook}" for hook in hooks),
        *(SUITE, str(root), "http://deb.debian.org/debian"),
    )


def _pip_settings() -> str:
    """This machine's, be they in files or in the environment, as one file."""
    listed = _run(sys.executable, "-m", "pip", "config", "list")
    found = re.findall(r"^\S+\.([\w-]+)='(.*)'$", listed, re.MULTILINE)
    settings = {name: value for name, value in found if name in PIP_SETTINGS} | {"cert": CERTIFICATES}
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoBase(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout


def main() -> int:
    try:
        print(ensure())
    except NoBase as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
