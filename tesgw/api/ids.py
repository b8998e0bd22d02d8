"""Task ids: 26 lower-case letters and digits that sort in the order in which they were made."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

# Crockford's alphabet, as in https://github.com/ulid/spec, in lower case.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
_STEP_BITS = 40  # within a millisecond ids go up by so much that none can be guessed from its neighbour


class TaskIds:
    """ULIDs: 48 bits of time in milliseconds, then 80 random bits. Backends may rely on the order."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._last = 0

    def new(self) -> str:
        """An id that is greater than all before it."""
        milliseconds = int(self._now().timestamp() * 1000)
        if milliseconds > self._last >> _RANDOM_BITS:
            self._last = milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        else:
            self._last += 1 + secrets.randbits(_STEP_BITS)
        return "".join([_ALPHABET[self._last >> shift & 31] for shift in range(125, -1, -5)])
