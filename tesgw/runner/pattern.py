"""The wildcards of POSIX 2.13.3 for one path component, as the C library matches them."""

from __future__ import annotations

import ctypes
import os

# FNM_PATHNAME | FNM_PERIOD: `*` stops at a slash, a leading dot is matched by a literal dot only.
# The same values in glibc and musl (fnmatch.h).
_FLAGS = 1 | 4

_libc = ctypes.CDLL(None)
_libc.fnmatch.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]


def has_wildcards(component: str) -> bool:
    return any(character in "*?[" for character in component)


def matches(name: str, component: str) -> bool:
    return bool(_libc.fnmatch(os.fsencode(component), os.fsencode(name), _FLAGS) == 0)
