from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import build_launcher
from tesgw.runner.removal import remove_tree

LAUNCHER = build_launcher.BINARIES / platform.machine()
ALL_BYTES = bytes(range(256)) * 3


class Box:
    """Runs the launcher in containers that see `host` as /data."""

    def __init__(self, image: str, host: Path) -> None:
        self.image = image
        self.host = host

    def launch(self, *arguments: str, options: tuple[str, ...] = (), image: str = "") -> subprocess.CompletedProcess[bytes]:
        mounts = ("-v", f"{LAUNCHER}:/.tesgw/launch:ro", "-v", f"{self.host}:/data", "-w", "/data")
        run = ("docker", "run", "--rm", "--init", "--network", "none", "--entrypoint", "/.tesgw/launch", *mounts, *options)
        return subprocess.run((*run, image or self.image, *arguments), capture_output=True, check=False, timeout=60)

    def shell(self, script: str) -> None:
        done = self.launch("exec", "--", "sh", "-ec", script)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def box(busybox: str, tmp_path: Path) -> Box:
    host = tmp_path / "data"
    host.mkdir()
    host.chmod(0o777)
    return Box(busybox, host)


@pytest.mark.engine
def test_argv_is_verbatim(box: Box) -> None:
    awkward = ("a b", "it's", '"', "$HOME", "`id`", "\n", "ü€🙂", "-e", "--", "", "*", "\\", "-o")

    done = box.launch("exec", "--", "printf", "%s\\0", *awkward)

    assert done.stdout.decode().split("\0")[:-1] == list(awkward)


@pytest.mark.engine
def test_streams_are_byte_exact_and_truncated_first(box: Box) -> None:
    (box.host / "in").write_bytes(ALL_BYTES)
    (box.host / "out").write_bytes(b"old" * 9999)
    (box.host / "out").chmod(0o666)

    done = box.launch(
        "exec", "-i", "/data/in", "-o", "/data/out", "-e", "/data/err", "--", "sh", "-c", "tee /dev/stderr; exit 7"
    )

    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")
    assert (box.host / "out").read_bytes() == ALL_BYTES
    assert (box.host / "err").read_bytes() == ALL_BYTES


@pytest.mark.engine
def test_stdout_and_stderr_may_be_one_file(box: Box) -> None:
    box.launch("exec", "-o", "/data/log", "-e", "/data/log", "--", "sh", "-c", "echo one; echo two >&2; echo three")

    assert (box.host / "log").read_text() == "one\ntwo\nthree\n"


@pytest.mark.engine
def test_the_program_inherits_its_three_streams_and_nothing_else(box: Box) -> None:
    (box.host / "in").touch()

    box.launch("exec", "-i", "/data/in", "-o", "/data/out", "-e", "/data/err", "--", "ls", "/proc/self/fd")

    assert (box.host / "out").read_text().split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


@pytest.mark.engine
def test_without_stdin_the_program_reads_nothing(box: Box) -> None:
    done = box.launch("exec", "--", "cat")

    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.engine
def test_a_user_that_is_not_root_gets_its_files_by_its_umask(box: Box) -> None:
    done = box.launch("exec", "-o", "/data/out", "--", "id", "-u", options=("--user", "1234:1234"))

    status = (box.host / "out").stat()
    assert done.returncode == 0
    assert (box.host / "out").read_text() == "1234\n"
    assert (status.st_uid, status.st_mode & 0o777) == (1234, 0o644)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (("--", "no-such-program"), 127, "no-such-program: No such file"),
        (("--", ""), 127, "No such file"),
        (("--", "/data"), 126, "/data: Permission denied"),
        (("--", "/data/script"), 127, "/data/script: No such file"),
        (("-i", "/data/missing", "--", "cat"), 126, "/data/missing: No such file"),
        (("-i", "/data", "--", "cat"), 126, "/data: Is a directory"),
        (("-o", "/data/no/out", "--", "true"), 126, "/data/no/out: No such file"),
        (("-o", "/proc/version", "--", "true"), 126, "/proc/version: Permission denied"),
        (("-x", "/data", "--", "true"), 126, "Invalid argument"),
    ],
)
def test_what_cannot_start_says_why(box: Box, arguments: tuple[str, ...], status: int, problem: str) -> None:
    (box.host / "script").write_text("#!/no/such/interpreter\n")
    (box.host / "script").chmod(0o755)

    done = box.launch("exec", *arguments, options=("--user", "1234"))

    assert done.returncode == status
    assert done.stderr.decode().startswith("tesgw: ")
    assert problem in done.stderr.decode()


@pytest.mark.engine
def test_a_failed_stream_is_reported_in_the_stderr_file(box: Box) -> None:
    box.launch("exec", "-i", "/data/missing", "-e", "/data/err", "--", "cat")

    assert (box.host / "err").read_text() == "tesgw: /data/missing: No such file or directory\n"


@pytest.fixture
def bare_image() -> Iterator[str]:
    """An image of one program and nothing else, which has no shell under any name."""
    binary = shutil.which("busybox")
    if not binary:
        pytest.skip("needs a static busybox on this machine")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(binary, "app/busybox")
    name = f"tesgw-test-bare:{os.getpid()}"
    subprocess.run(("docker", "import", "-", name), input=archive.getvalue(), check=True, capture_output=True)
    yield name
    subprocess.run(("docker", "rmi", name), check=True, capture_output=True)


@pytest.mark.engine
def test_an_image_needs_nothing_of_its_own(box: Box, bare_image: str) -> None:
    done = box.launch("exec", "-o", "/data/out", "--", "/app/busybox", "echo", "hello", image=bare_image)

    assert done.returncode == 0
    assert (box.host / "out").read_text() == "hello\n"


@pytest.mark.engine
def test_own_makes_a_hostile_tree_ours_and_touches_nothing_else(box: Box) -> None:
    box.shell("""
        mkdir -p tree/closed/below secret; echo x > tree/closed/below/file; echo y > secret/file
        chmod 4755 tree/closed/below/file; chmod 0 tree/closed/below tree/closed; chmod 600 secret/file
        ln -s /data/secret tree/link; ln -s /data/secret/file tree/file-link; mkfifo tree/fifo; mkdir tree/open
        chmod 2775 tree/open
    """)

    done = box.launch("own", "4242", "4343", "/data/tree")

    def look(path: str) -> tuple[int, int, int]:
        status = (box.host / path).lstat()
        return status.st_uid, status.st_gid, status.st_mode & 0o7777

    assert (done.returncode, done.stderr) == (0, b"")
    assert look("tree/closed") == look("tree/closed/below") == (4242, 4343, 0o700)
    assert look("tree/closed/below/file") == (4242, 4343, 0o755)
    assert look("tree/open") == (4242, 4343, 0o775)
    assert look("tree/link")[:2] == look("tree/fifo")[:2] == (4242, 4343)
    assert look("secret")[:2] == (0, 0)
    assert look("secret/file") == (0, 0, 0o600)


@pytest.mark.engine
def test_own_reaches_the_bottom_of_a_deep_tree(box: Box) -> None:
    depth = 5000
    fd = os.open(box.host, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below

    try:
        done = box.launch("own", "4242", "4242", "/data", options=("--ulimit", "nofile=64:64"))

        assert (done.returncode, done.stderr) == (0, b"")
        assert os.fstat(fd).st_uid == 4242
    finally:
        os.close(fd)
        remove_tree(box.host / "d")


@pytest.mark.parametrize("architecture", build_launcher.ARCHITECTURES)
def test_the_binaries_are_what_the_source_builds(architecture: str, tmp_path: Path) -> None:
    built = build_launcher.build(architecture, tmp_path)

    assert built.read_bytes() == (build_launcher.BINARIES / architecture).read_bytes()
    assert built.stat().st_size < 100_000
