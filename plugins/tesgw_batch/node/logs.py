"""What goes to stderr: log events, without anything secret."""

from __future__ import annotations

import logging
import re
import sys

_SIGNATURE = re.compile(r"(\bsig=)[^&\s'\"<>)\\]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text without the signatures of URLs in it."""
    return _SIGNATURE.sub(r"\1…", text)


def configure() -> None:
    """Log to stderr, which Azure Batch keeps. The SDK's own talk is left out but for warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("azure").setLevel(logging.WARNING)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value!s}" for name, value in record.__dict__.items() if name not in _PLAIN)
        text, newline, trace = super().format(record).partition("\n")
        return redacted(f"{text} {fields}".rstrip() + newline + trace)


_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
