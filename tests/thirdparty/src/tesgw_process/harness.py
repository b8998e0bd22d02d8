"""The conformance suite's test world of this backend: any Linux machine, and a root file system made of a static busybox."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tesgw.conformance import Harness

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tesgw-process"


class ProcessHarness(Harness):
    """There is no service that could fail and no other machine that could be lost: the backend claims neither."""

    image: ClassVar[str] = "busybox"
    gaps: ClassVar[Mapping[str, str]] = {}
    provision_request: ClassVar[Mapping[str, Any]] = {"images": {"again": str(CACHE / "busybox.tar")}}

    def __init__(self) -> None:
        self._directories: set[Path] = set()

    async def start(self) -> None:
        if not (CACHE / "images" / self.image).exists():
            await asyncio.to_thread(_make_image, CACHE / "images" / self.image)

    async def stop(self) -> None:
        for directory in self._directories:  # a supervisor ends when its job's directory is gone
            await asyncio.to_thread(shutil.rmtree, directory / "process" / "jobs", ignore_errors=True)

    def settings(self, directory: Path) -> Mapping[str, Any]:
        self._directories.add(directory)
        return {"LOCAL_WORK_DIR": directory, "PROCESS_IMAGES_DIR": str(CACHE / "images")}

    def shared_global(self, directory: Path) -> Path:
        return directory / "process" / "shared-global"

    async def running(self, job_id: str) -> int:
        return len(set(_pid_namespaces(job_id)))

    async def left(self, directory: Path, job_id: str) -> Sequence[str]:
        job_directory = directory / "process" / "jobs" / job_id
        return [*_pid_namespaces(job_id), *([str(job_directory)] if job_directory.exists() else [])]


def _pid_namespaces(job_id: str) -> Iterator[str]:
    """Of the processes that have files of this job mounted: each executor has a namespace of its own."""
    ours = os.readlink("/proc/self/ns/pid")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"/jobs/{job_id}/" in (process / "mountinfo").read_text():
                namespace = os.readlink(process / "ns/pid")
                if namespace != ours:
                    yield namespace
        except OSError:  # it ended meanwhile
            continue


def _make_image(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as directory:
        programs = Path(directory, "image", "bin")
        programs.mkdir(parents=True)
        shutil.copy(_busybox(Path(directory)), programs / "busybox")
        listed = subprocess.run([programs / "busybox", "--list"], capture_output=True, text=True, check=True).stdout
        for name in set(listed.split()) - {"busybox"}:
            os.link(programs / "busybox", programs / name)
        programs.parent.chmod(0o755)
        with tarfile.open(CACHE / "busybox.tar", "w") as archive:
            archive.add(programs.parent, ".")
        programs.parent.rename(place)


def _busybox(directory: Path) -> str:
    """A static busybox: this machine's own, or the distribution's, unpacked without installing it."""
    own = shutil.which("busybox")
    if own and subprocess.run(["ldd", own], capture_output=True, check=False).returncode:
        return own
    if not shutil.which("apt-get"):
        raise RuntimeError("This harness needs a static busybox: install it (Fedora: dnf install busybox).")
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=directory, check=True, capture_output=True)
    [package] = directory.glob("busybox-static*.deb")
    subprocess.run(["dpkg", "-x", package, directory / "unpacked"], check=True)
    return str(next((directory / "unpacked").glob("**/bin/busybox")))
