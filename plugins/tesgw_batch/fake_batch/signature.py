"""Shared keys: who may speak to the account. https://learn.microsoft.com/rest/api/batchservice/authenticate-requests-to-the-azure-batch-service"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


def authorization(method: str, target: str, headers: Mapping[str, str], *, account: str, key: str) -> str:
    """What the header of that name has to be; `target` is the path and query as sent."""
    text = string_to_sign(method, target, headers, account)
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"


def string_to_sign(method: str, target: str, headers: Mapping[str, str], account: str) -> str:
    sent = {name.lower(): value for name, value in headers.items()}
    if method in ("GET", "HEAD"):
        sent.pop("content-length", None)
    else:
        sent.setdefault("content-length", "0")
    url = urlsplit(target)
    lines = [method, *(sent.get(name, "") for name in SIGNED)]
    lines += [f"{name}:{value}" for name, value in sorted(sent.items()) if name.startswith("ocp-")]
    lines += [f"/{account}{url.path}"]
    lines += [f"{name}:{values[0]}" for name, values in sorted(parse_qs(url.query).items())]
    return "\n".join(lines)
