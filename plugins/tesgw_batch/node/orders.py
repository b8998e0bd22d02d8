"""The order of this attempt, and the signatures in it, as fresh as they have to be."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable
from urllib.parse import quote

import aiohttp
import msgspec
from azure.core.exceptions import AzureError, ResourceNotFoundError

from tesgw_batch.documents import Order, decode
from tesgw_batch.node.storage import Document, patiently

log = logging.getLogger(__name__)

FRESH_SECONDS = 60.0
REFRESH_SECONDS = 1800.0


class Orders:
    """The order, which the gateway writes again before its signatures expire."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._document = Document(url, session)
        self._session = session
        self._read_at = -math.inf
        self._reading = asyncio.Lock()
        self.order: Order
        """As it was read last."""
        self.status: Document
        """The status document, by the signature that was read last."""

    async def read(self) -> Order | None:
        """The order as it is now, or None if the gateway has taken it back. Patient."""
        try:
            data = await patiently(self._document.load)
        except ResourceNotFoundError:
            return None
        self._take(decode(data, Order))
        return self.order

    async def refresh(self, older_than_seconds: float) -> None:
        """Read it again if the last time is longer ago. What cannot be read stays as it was."""
        async with self._reading:
            if _now() - self._read_at < older_than_seconds:
                return
            try:
                self._take(decode(await self._document.load(), Order))
            except (AzureError, msgspec.DecodeError) as error:
                log.warning("order not read again", extra={"error": type(error).__name__})

    def _take(self, order: Order) -> None:
        if self._read_at == -math.inf:
            self.status = Document(order.status_url, self._session)
        self._document.renew(order.order_url)
        self.status.renew(order.status_url)
        self.order = order
        self._read_at = _now()


class Signatures:
    """What to use instead of a URL of the task."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._outputs = tuple(output.url for output in orders.order.job.outputs)
        self._has_delivered = False

    def covers(self, url: str) -> bool:
        """Whether the gateway signed the URL, or one above it."""
        return _above(url, self._orders.order.signed) is not None

    async def sign(self, url: str) -> str:
        """The signed URL; a URL that the gateway did not sign is returned as it is."""
        is_first_output = not self._has_delivered and _above(url, self._outputs) is not None
        await self._orders.refresh(0 if is_first_output else FRESH_SECONDS)
        self._has_delivered |= is_first_output
        signed = self._orders.order.signed
        key = _above(url, signed)
        return url if key is None else below(signed[key], url[len(key) :], is_encoded=not url.startswith("/"))


def below(signed: str, rest: str, *, is_encoded: bool) -> str:
    """The URL of something below what a URL is signed for."""
    if not rest:
        return signed
    base, mark, query = signed.partition("?")
    path = rest.lstrip("/")
    return f"{base.rstrip('/')}/{path if is_encoded else quote(path)}{mark}{query}"


def _above(url: str, urls: Iterable[str]) -> str | None:
    """The URL itself, or the nearest of those above it."""
    fitting = [one for one in urls if url == one or url.startswith(f"{one.rstrip('/')}/")]
    return max(fitting, key=len, default=None)


def _now() -> float:
    return asyncio.get_running_loop().time()
