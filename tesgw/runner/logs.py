"""The ends of files that programs are still writing."""

from __future__ import annotations

import ctypes
import os

_PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, linux/falloc.h

_libc = ctypes.CDLL(None)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def tail(fd: int, limit: int) -> bytes:
    """The last `limit` bytes of the file as it is now."""
    return os.pread(fd, limit, max(os.fstat(fd).st_size - limit, 0))


def punch(fd: int, keep: int) -> None:
    """Give the disk back all but the last `keep` bytes; size and offsets stay. No effect where the file system cannot."""
    length = os.fstat(fd).st_size - keep
    if length > 0:
        _libc.fallocate(fd, _PUNCH_HOLE, 0, length)
