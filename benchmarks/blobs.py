"""The blob storage of `make bench-batch`: what the gateway asks of one, in memory, whoever asks.

Azurite looks through all its blobs at each request: with ten thousand jobs it would be what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from xml.sax.saxutils import escape

import uvloop
from aiohttp import web

HOST = "127.0.0.1"
PAGE = 5000
META = "x-ms-meta-"


@dataclass(frozen=True, slots=True)
class Blob:
    content: bytes
    etag: str
    metadata: Mapping[str, str]
    modified: str

    @property
    def headers(self) -> dict[str, str]:
        return {"ETag": f'"{self.etag}"', "Last-Modified": self.modified}


class Blobs:
    """All containers are one: names begin with the container's."""

    def __init__(self) -> None:
        self._blobs: dict[str, Blob] = {}
        self._versions = itertools.count(2**56)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**25)
        app.router.add_put("/{account}/{container}", self._make_container)
        app.router.add_get("/{account}/{container}", self._list)
        app.router.add_put("/{account}/{name:.+}", self._put)
        app.router.add_get("/{account}/{name:.+}", self._get)
        app.router.add_delete("/{account}/{name:.+}", self._delete)
        return app

    async def _make_container(self, request: web.Request) -> web.Response:
        return web.Response(status=201, headers={"ETag": '"0x1"', "Last-Modified": formatdate(usegmt=True)})

    async def _put(self, request: web.Request) -> web.Response:
        name, content = request.match_info["name"], await request.read()
        if request.headers.get("If-None-Match") == "*" and name in self._blobs:
            return web.Response(status=409, headers={"x-ms-error-code": "BlobAlreadyExists"})
        given = {key.lower(): value for key, value in request.headers.items()}
        metadata = {key.removeprefix(META): value for key, value in given.items() if key.startswith(META)}
        blob = Blob(content, f"0x{next(self._versions):X}", metadata, formatdate(usegmt=True))
        self._blobs[name] = blob
        return web.Response(status=201, headers=blob.headers)

    async def _get(self, request: web.Request) -> web.Response:
        blob = self._blobs.get(request.match_info["name"])
        if blob is None:
            return web.Response(status=404, headers={"x-ms-error-code": "BlobNotFound"})
        size = len(blob.content)
        whole = {"Content-Range": f"bytes 0-{size - 1}/{size}", "x-ms-blob-type": "BlockBlob"}
        return web.Response(status=206, body=blob.content, headers={**blob.headers, **whole})

    async def _delete(self, request: web.Request) -> web.Response:
        if self._blobs.pop(request.match_info["name"], None) is None:
            return web.Response(status=404, headers={"x-ms-error-code": "BlobNotFound"})
        return web.Response(status=202)

    async def _list(self, request: web.Request) -> web.Response:
        container = f"{request.match_info['container']}/"
        prefix, after = container + request.query.get("prefix", ""), container + request.query.get("marker", "")
        names = sorted(name for name in self._blobs if name.startswith(prefix) and name > after)
        page = names[:PAGE]
        following = page[-1].removeprefix(container) if len(names) > PAGE else ""
        blobs = "".join(itertools.chain.from_iterable(self._entry(name, name.removeprefix(container)) for name in page))
        text = f"<Blobs>{blobs}</Blobs><NextMarker>{escape(following)}</NextMarker>"
        head = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container[:-1]}">'
        return web.Response(text=f"{head}{text}</EnumerationResults>", content_type="application/xml")

    def _entry(self, name: str, shown: str) -> Iterator[str]:
        """With all that Azure tells of a blob, as far as it costs something to read."""
        blob = self._blobs[name]
        yield f"<Blob><Name>{escape(shown)}</Name><Properties><Creation-Time>{blob.modified}</Creation-Time>"
        yield f"<Last-Modified>{blob.modified}</Last-Modified><Etag>{blob.etag}</Etag>"
        yield f"<Content-Length>{len(blob.content)}</Content-Length><Content-Type>application/octet-stream</Content-Type>"
        yield "<Content-Encoding /><Content-Language /><Content-MD5 /><Cache-Control /><Content-Disposition />"
        yield "<BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred>"
        yield "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted>"
        yield "</Properties><Metadata>"
        yield from (f"<{key}>{escape(value)}</{key}>" for key, value in blob.metadata.items())
        yield "</Metadata><OrMetadata /></Blob>"


async def serve(port: int) -> None:
    runner = web.AppRunner(Blobs().app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    print(f"http://{HOST}:{runner.addresses[0][1]}", flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await runner.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(parser.parse_args().port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
