from __future__ import annotations

import os
from pathlib import Path

from tesgw.runner.logs import punch, tail


def test_a_tail_is_the_end_of_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0123456789")
    fd = os.open(tmp_path / "log", os.O_RDONLY)

    assert tail(fd, 4) == b"6789"
    assert tail(fd, 100) == b"0123456789"
    os.close(fd)


def test_punching_frees_the_disk_and_keeps_size_and_tail(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * (8 << 20) + b"end")
    fd = os.open(tmp_path / "log", os.O_RDWR)

    punch(fd, 1 << 20)
    punch(fd, 1 << 30)

    status = os.fstat(fd)
    assert status.st_size == (8 << 20) + 3
    assert status.st_blocks * 512 < 2 << 20
    assert tail(fd, 6) == b"xxxend"
    os.close(fd)


def test_punching_what_cannot_be_punched_is_no_error() -> None:
    read, write = os.pipe()

    punch(read, -1)

    os.close(read)
    os.close(write)
