"""What a path in a task document may be. Pure: nothing here looks at a file system."""

from __future__ import annotations

import posixpath

WILDCARDS = "*?["

# The kernel's own trees and the runner's: nothing of a task's may be put there.
_RESERVED = ("/proc", "/sys", "/dev", "/.tesgw")
# Where every image keeps itself: an empty volume there would hide it.
_OF_THE_IMAGE = ("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr")

SHARED_GLOBAL = "/tes-wd/shared-global"


def clean(path: str) -> str:
    """The path in its shortest form (`/a//b/` is `/a/b`); ValueError with a sentence if no task may name it."""
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    if "\0" in path:
        raise ValueError("a path cannot hold a NUL byte")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{path!r} holds '..': name the directory itself")
    if not (len(path) <= 255 and path.isascii()) and _is_too_long(path, parts):
        raise ValueError("the path is too long: 255 bytes a component, 4095 in all")
    short = "/" + "/".join(parts)
    if short.startswith(_RESERVED) and any(is_within(short, reserved) for reserved in _RESERVED):
        raise ValueError(f"{path!r} lies in a directory that belongs to the system")
    return short


def _is_too_long(path: str, parts: list[str]) -> bool:
    return len(path.encode()) > 4095 or any(len(part.encode()) > 255 for part in parts)


def clean_file(path: str) -> str:
    """As `clean`, for what cannot be the root directory."""
    short = clean(path)
    if short == "/":
        raise ValueError("'/' cannot be used here: name a path below it")
    return short


def check_volume(path: str) -> str:
    """As `clean_file`, for a directory that every executor gets empty."""
    short = clean_file(path)
    if short in _OF_THE_IMAGE:
        raise ValueError(f"{path!r} belongs to the image: a volume there would hide it")
    if is_within(short, SHARED_GLOBAL):
        raise ValueError(f"{path!r} lies in the directory that all tasks share: it is there without being a volume")
    return short


def is_within(path: str, directory: str) -> bool:
    """Whether a clean path is this clean directory or lies below it."""
    return directory == "/" or path == directory or path.startswith(directory + "/")


def has_wildcards(path: str) -> bool:
    """Whether an output path selects files by pattern."""
    return any(character in path for character in WILDCARDS)


def literal_parent(path: str) -> str:
    """The deepest directory that is certain to hold whatever a clean pattern selects."""
    parts = path.split("/")
    literal = next(index for index, part in enumerate(parts) if has_wildcards(part))
    return posixpath.join("/", *parts[:literal])
