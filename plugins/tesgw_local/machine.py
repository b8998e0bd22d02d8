"""Sees to a Docker engine and a `busybox` image: `python -m tesgw_local.machine`.

What is there already is used and left alone. As root on Debian and Ubuntu, what is missing is installed and started.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

IMAGE = "busybox:latest"
LOG = Path("/var/log/tesgw-dockerd.log")
SOCKET = Path("/var/run/docker.sock")
PID_FILE = Path("/var/run/docker.pid")
START_SECONDS = 60


class NoEngine(Exception):
    """There is no engine or no image to be had; the text is a sentence that says what to do."""


def check() -> None:
    """Change nothing; raise `NoEngine` unless an engine answers and has the image."""
    if not _answers():
        raise NoEngine(_advice())
    if not _has_image():
        raise NoEngine(f"The Docker engine has no image {IMAGE}: run `python -m tesgw_local.machine`.")


def ensure() -> None:
    """Afterwards an engine answers and has the image; raises `NoEngine` where that cannot be had."""
    if not _answers():
        if not _may_install():
            raise NoEngine(_advice())
        _install_engine()
        if not _answers():  # a package may start it
            _start_engine()
    if not _has_image() and not _pull_image():
        _import_image()


def _run(*command: str, timeout: float = 600, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=stdin or b"", capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, b"", f"{command[0]}: not found".encode())
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, b"", f"{command[0]}: no end after {timeout:.0f} s".encode())


def _text(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _say(step: str) -> None:
    print(step, flush=True)


def _answers() -> bool:
    # Some clients end with 0 though no server answered; then its version is empty.
    done = _run("docker", "info", "--format", "{{.ServerVersion}}", timeout=30)
    return done.returncode == 0 and bool(done.stdout.strip())


def _advice() -> str:
    host = os.environ.get("DOCKER_HOST")
    if shutil.which("docker") is None:
        return "Docker is missing: install it (Debian, Ubuntu: apt-get install docker.io; else https://docs.docker.com/engine/install/)."
    if host:
        return f"DOCKER_HOST is {host}, but no engine answers there: start that engine or unset DOCKER_HOST."
    if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
        return "You may not use Docker's socket: `sudo usermod -aG docker $USER`, then log in again."
    if sys.platform == "darwin":
        return "The Docker engine is not running: start Docker Desktop."
    return (
        "No Docker engine is running: start it (`sudo systemctl start docker`) or install one (apt-get install docker.io)."
    )


def _may_install() -> bool:
    is_ours = not os.environ.get("DOCKER_HOST")  # an engine elsewhere is somebody else's to start
    return is_ours and sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install_engine() -> None:
    if shutil.which("dockerd"):
        return
    _say("Installing docker.io from the distribution")
    install = ("apt-get", "install", "-y", "--no-install-recommends", "docker.io", "iptables")
    done = _apt(*install)
    if done.returncode != 0:
        raise NoEngine(f"docker.io could not be installed ({_text(done)}): install Docker by hand.")


def _apt(*command: str) -> subprocess.CompletedProcess[bytes]:
    """A clean machine has no package lists, an old one has stale ones: fetch them when they turn out to be needed."""
    os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
    done = _run(*command)
    if done.returncode != 0 and os.geteuid() == 0:
        _run("apt-get", "update", "-q")
        done = _run(*command)
    return done


def _start_engine() -> None:
    if Path("/run/systemd/system").is_dir():
        _say("Starting Docker (systemctl start docker)")
        _run("systemctl", "start", "docker")
        _wait_for_engine(None)
        return
    _say(f"Starting dockerd in the background, its log is {LOG}")
    try:
        _start_dockerd()
    except NoEngine:  # one that was killed a moment ago leaves things behind that the next one stumbles over, once
        _start_dockerd()


def _start_dockerd() -> None:
    _drop_stale_pid_file()
    with LOG.open("ab") as log:
        # A session and files of its own: it outlives us, and nobody who reads our output waits for its end.
        daemon = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    _wait_for_engine(daemon)


def _drop_stale_pid_file() -> None:
    """A dockerd that was killed leaves the file, and the next one does not start while any process has that number."""
    try:
        command = Path("/proc", PID_FILE.read_text().strip(), "cmdline").read_bytes()  # empty for one that has ended
    except OSError:
        command = b""
    if b"dockerd" not in command:
        PID_FILE.unlink(missing_ok=True)


def _wait_for_engine(daemon: subprocess.Popen[bytes] | None) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if _answers():
            return
        if daemon is not None and daemon.poll() is not None:
            raise NoEngine(f"dockerd does not start on this machine ({_last_line(LOG)}): see {LOG}.")
        time.sleep(0.3)
    raise NoEngine(f"The Docker engine does not answer {START_SECONDS} s after its start: see its log.")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote no log"


def _has_image() -> bool:
    return _run("docker", "image", "inspect", IMAGE).returncode == 0


def _pull_image() -> bool:
    _say(f"Pulling {IMAGE}")
    return _run("docker", "pull", "-q", IMAGE, timeout=120).returncode == 0


def _import_image() -> None:
    _say(f"No registry answers: importing {IMAGE} from the distribution's busybox-static")
    with tempfile.TemporaryDirectory() as directory:
        busybox = _download_busybox(Path(directory))
        done = _run("docker", "import", "-c", 'CMD ["sh"]', "-", IMAGE, stdin=_image_tar(busybox))
    if done.returncode != 0:
        raise NoEngine(f"The Docker engine did not take {IMAGE} ({_text(done)}).")


def _download_busybox(directory: Path) -> Path:
    os.chmod(directory, 0o755)  # root's apt-get downloads as the user _apt
    done = _apt("sh", "-c", 'cd "$0" && apt-get download -q busybox-static && dpkg-deb -x *.deb .', str(directory))
    busybox = next(directory.glob("**/bin/busybox"), None)  # /usr/bin in newer distributions
    if done.returncode != 0 or busybox is None:
        raise NoEngine(
            f"There is no image {IMAGE} ({_text(done)}): give the engine one (`docker pull {IMAGE}` or `docker load`)."
        )
    return busybox


def _image_tar(busybox: Path) -> bytes:
    applets = _run(str(busybox), "--list").stdout.decode().split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "usr/bin": 0o755}.items():
            _add(tar, name, tarfile.DIRTYPE, mode)
        _add(
            tar,
            "etc/passwd",
            tarfile.REGTYPE,
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n",
        )
        _add(tar, "etc/group", tarfile.REGTYPE, 0o644, b"root:x:0:\nnogroup:x:65534:\n")
        _add(tar, "bin/busybox", tarfile.REGTYPE, 0o755, busybox.read_bytes())
        _add(tar, "usr/bin/env", tarfile.SYMTYPE, 0o777, link="../../bin/busybox")
        for applet in sorted(set(applets) - {"busybox"}):  # a link from busybox to itself would replace it
            _add(tar, f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, kind: bytes, mode: int, content: bytes = b"", link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.linkname = kind, mode, len(content), link
    tar.addfile(member, io.BytesIO(content))


def main() -> int:
    try:
        ensure()
    except NoEngine as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
