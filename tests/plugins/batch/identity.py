"""The gateway's own Entra identity, in tests."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

from azure.core.credentials import AccessToken


class Identity:
    """Gives tokens that nobody signed; Azurite reads what they claim. `asked` counts them."""

    def __init__(self) -> None:
        self.asked = 0

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked += 1
        now = int(dt.datetime.now(dt.UTC).timestamp())
        issuer = "https://sts.windows.net/11111111-1111-1111-1111-111111111111/"
        times = {"iat": now, "nbf": now - 60, "exp": now + 3600}
        claims = {"aud": "https://storage.azure.com", "iss": issuer, "oid": "o", "tid": "t", **times}
        parts: tuple[dict[str, Any], ...] = ({"alg": "none", "typ": "JWT"}, claims, {})
        token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        return AccessToken(token, now + 3600)

    async def close(self) -> None: ...

    async def __aenter__(self) -> Identity:
        return self

    async def __aexit__(self, *_: object) -> None: ...
