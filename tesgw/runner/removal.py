"""Removing what executors left behind."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path


def remove_tree(path: Path) -> None:
    """Delete a directory and all in it, however deep and whatever its modes; nothing if it is gone. No link is followed.

    Raises PermissionError at the first thing that belongs to another user; call again once it does not.
    """
    try:
        top = _open(path, None)
    except FileNotFoundError:
        return
    try:
        while names := os.listdir(top):
            for name in names:
                _remove(name, top)
    finally:
        os.close(top)
    os.rmdir(path)


def _remove(name: str, top: int) -> None:
    """Directories further down move up to `top`, to be removed later: no recursion, a few descriptors at any depth."""
    if _remove_simple(name, top):
        return
    directory = _open(name, top)
    try:
        for child in os.listdir(directory):
            if not _remove_simple(child, directory):
                os.close(_open(child, directory))  # a directory that moves to another parent has to be writable itself
                os.rename(child, f".{secrets.token_hex(8)}", src_dir_fd=directory, dst_dir_fd=top)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=top)


def _remove_simple(name: str, directory: int) -> bool:
    """Remove a file or an empty directory; False for a directory with something in it."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            return False
    return True


def _open(name: str | Path, parent: int | None) -> int:
    """The directory, listable and writable for us from now on."""
    path_only = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        mode = stat.S_IMODE(os.fstat(path_only).st_mode)
        if mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{path_only}", mode | 0o700)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=path_only)
    finally:
        os.close(path_only)
