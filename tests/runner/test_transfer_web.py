from __future__ import annotations

import asyncio
import gzip
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tesgw.errors import StageError
from tesgw.model import FileType, OutputFile
from tesgw.runner.files import Namespace
from tesgw.runner.transfer import Transfers
from tests.runner.conftest import until

FILE, DIRECTORY = FileType.FILE, FileType.DIRECTORY
CONTENT = os.urandom(3_000_000)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """A web server whose answers a test scripts: one handler a request, the last one for all further ones."""

    url: str
    script: list[Handler] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        handler = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await handler(request)

    async def store(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.Response(status=201)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    scripted = Server("")
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", scripted.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def transfers() -> AsyncIterator[Transfers]:
    async with aiohttp.ClientSession() as session:
        yield Transfers(http=lambda: session, files=Namespace({}), patience_seconds=2)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def task(tree: Path) -> Namespace:
    return Namespace({"/": tree})


def whole(*, etag: str = '"1"', content: bytes = CONTENT) -> Handler:
    """Answers all of the content, or the part asked for if it is still the same."""

    async def handler(request: web.Request) -> web.Response:
        headers = {"ETag": etag}
        if request.headers.get("If-Range", etag) != etag or "Range" not in request.headers:
            return web.Response(body=content, headers=headers)
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return web.Response(status=206, body=content[start:], headers=headers)

    return handler


def broken(tree: Path, *, etag: str = '"1"', after: int = 1_000_000) -> Handler:
    """Promises all of the content and hangs up in the middle, when the client has what was sent."""

    def is_written() -> bool:
        return any(draft.stat().st_size >= after for draft in tree.glob(".tesgw-*"))

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT)), "ETag": etag})
        await response.prepare(request)
        await response.write(CONTENT[:after])
        await until(is_written)
        assert request.transport
        request.transport.close()
        return response

    return handler


def status(code: int, **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=code, headers=headers)

    return handler


async def test_a_file_is_fetched_writable_for_any_user(
    server: Server, transfers: Transfers, task: Namespace, tree: Path
) -> None:
    server.script = [whole()]

    await transfers.fetch(f"{server.url}/x?sig=1%2F2", FILE, task, "/in/x")

    assert (tree / "in/x").read_bytes() == CONTENT
    assert (tree / "in/x").stat().st_mode & 0o777 == 0o666
    assert os.listdir(tree / "in") == ["x"]
    assert server.requests[0].raw_path == "/x?sig=1%2F2"


async def test_a_broken_download_goes_on_where_it_broke(
    server: Server, transfers: Transfers, task: Namespace, tree: Path
) -> None:
    server.script = [broken(tree), whole()]

    await transfers.fetch(f"{server.url}/x", FILE, task, "/x")

    assert (tree / "x").read_bytes() == CONTENT
    assert server.requests[1].headers["Range"] == "bytes=1000000-"


@pytest.mark.parametrize("etag", ['"2"', 'W/"1"', ""])
async def test_a_download_that_may_have_changed_begins_again(
    server: Server, transfers: Transfers, task: Namespace, tree: Path, etag: str
) -> None:
    changed = CONTENT[::-1]
    server.script = [broken(tree, etag=etag if etag != '"2"' else '"1"'), whole(etag=etag, content=changed)]

    await transfers.fetch(f"{server.url}/x", FILE, task, "/x")

    assert (tree / "x").read_bytes() == changed


@pytest.mark.parametrize("lie", [status(416), status(206, **{"Content-Range": "bytes 5-9/10"}), status(206)])
async def test_a_server_that_mishandles_ranges_is_asked_for_everything(
    server: Server, transfers: Transfers, task: Namespace, tree: Path, lie: Handler
) -> None:
    server.script = [broken(tree), lie, whole()]

    await transfers.fetch(f"{server.url}/x", FILE, task, "/x")

    assert (tree / "x").read_bytes() == CONTENT
    assert "Range" not in server.requests[2].headers


async def test_a_file_that_never_comes_whole_is_no_file(
    server: Server, transfers: Transfers, task: Namespace, tree: Path
) -> None:
    server.script = [broken(tree, etag="")]

    with pytest.raises(StageError, match=r"/x could not be fetched: the connection broke, and tries in 2 s did not help"):
        await transfers.fetch(f"{server.url}/x", FILE, task, "/x")

    assert os.listdir(tree) == []


@pytest.mark.parametrize("code", [500, 503, 429])
async def test_what_may_pass_is_tried_again(
    server: Server, transfers: Transfers, task: Namespace, tree: Path, code: int
) -> None:
    server.script = [status(code), whole()]

    await transfers.fetch(f"{server.url}/x", FILE, task, "/x")

    assert (tree / "x").read_bytes() == CONTENT


@pytest.mark.parametrize("code", [404, 403, 204, 304])
async def test_what_will_not_pass_is_told_at_once_and_without_secrets(
    server: Server, transfers: Transfers, task: Namespace, tree: Path, code: int
) -> None:
    server.script = [status(code)]
    url = server.url.replace("//", "//user:secret@")

    with pytest.raises(
        StageError, match=rf"^{server.url}/x could not be fetched: the server answered {code} .*\.$"
    ) as caught:
        await transfers.fetch(f"{url}/x?sig=secret#secret", FILE, task, "/x")

    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1
    assert os.listdir(tree) == []


async def test_redirects_are_followed(server: Server, transfers: Transfers, task: Namespace, tree: Path) -> None:
    server.script = [status(302, Location="/elsewhere"), whole()]

    await transfers.fetch(f"{server.url}/x", FILE, task, "/x")

    assert (tree / "x").read_bytes() == CONTENT
    assert server.requests[1].path == "/elsewhere"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://", "/round?secret"])
async def test_redirects_to_nowhere_are_told_at_once(
    server: Server, transfers: Transfers, task: Namespace, location: str
) -> None:
    server.script = [status(302, Location=location)]

    with pytest.raises(StageError, match=r"not a valid http URL|too many redirects") as caught:
        await transfers.fetch(f"{server.url}/x", FILE, task, "/x")

    assert "secret" not in str(caught.value)


async def test_credentials_in_a_url_are_basic_authentication(server: Server, transfers: Transfers, task: Namespace) -> None:
    server.script = [whole()]

    await transfers.fetch(server.url.replace("//", "//us%40er:pass@") + "/x", FILE, task, "/x")

    assert server.requests[0].headers["Authorization"] == f"Basic {b64encode(b'us@er:pass').decode()}"


async def test_what_the_server_calls_compressed_is_stored_as_sent(
    server: Server, transfers: Transfers, task: Namespace, tree: Path
) -> None:
    packed = gzip.compress(b"x" * 1000)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    server.script = [handler]

    await transfers.fetch(f"{server.url}/x.gz", FILE, task, "/x.gz")

    assert (tree / "x.gz").read_bytes() == packed


async def test_a_server_that_is_not_there_is_named(transfers: Transfers, task: Namespace, unused_tcp_port: int) -> None:
    with pytest.raises(StageError, match=rf"127.0.0.1:{unused_tcp_port}/x could not be fetched: Cannot connect"):
        await transfers.fetch(f"http://127.0.0.1:{unused_tcp_port}/x", FILE, task, "/x")


@pytest.mark.parametrize("url", ["http://", "http:///x", "http://[bad/x", "http://host:99999999/x"])
async def test_a_url_that_is_none_is_told(transfers: Transfers, task: Namespace, url: str) -> None:
    with pytest.raises(StageError):
        await transfers.fetch(url, FILE, task, "/x")


async def test_a_web_server_has_no_directories_to_fetch(transfers: Transfers, task: Namespace) -> None:
    with pytest.raises(StageError, match="cannot be fetched as a DIRECTORY"):
        await transfers.fetch("http://localhost/d", DIRECTORY, task, "/d")


async def test_an_output_is_put_with_its_length(server: Server, transfers: Transfers, task: Namespace, tree: Path) -> None:
    (tree / "out").write_bytes(CONTENT)
    server.script = [server.store]
    url = f"{server.url}/out?sig=1%2F2"

    delivered = await transfers.deliver(task, "/out", url, FILE)

    assert delivered == [OutputFile(path="/out", url=url, size_bytes=len(CONTENT))]
    assert server.bodies == [CONTENT]
    assert (server.requests[0].method, server.requests[0].raw_path) == ("PUT", "/out?sig=1%2F2")
    assert server.requests[0].headers["Content-Length"] == str(len(CONTENT))


async def test_an_output_is_put_again_after_what_may_pass(
    server: Server, transfers: Transfers, task: Namespace, tree: Path
) -> None:
    (tree / "out").write_bytes(CONTENT)
    server.script = [status(503), server.store]

    await transfers.deliver(task, "/out", f"{server.url}/out", FILE)

    assert server.bodies == [CONTENT]


@pytest.mark.parametrize("code", [403, 307])
async def test_an_output_that_is_refused_says_so(
    server: Server, transfers: Transfers, task: Namespace, tree: Path, code: int
) -> None:
    (tree / "out").write_bytes(b"x")
    server.script = [status(code, Location="/elsewhere")]

    with pytest.raises(StageError, match=f"/out could not be delivered: the server answered {code}"):
        await transfers.deliver(task, "/out", f"{server.url}/out", FILE)


async def test_a_directory_output_is_put_file_by_file(
    server: Server, transfers: Transfers, task: Namespace, tree: Path
) -> None:
    (tree / "out/sub").mkdir(parents=True)
    for number in range(20):
        (tree / f"out/sub/{number} %").write_text(str(number))
    server.script = [server.store]

    delivered = await transfers.deliver(task, "/out", f"{server.url}/d/?sig=1", DIRECTORY)

    assert sorted(server.bodies) == sorted(str(number).encode() for number in range(20))
    assert {request.raw_path for request in server.requests} == {f"/d/sub/{number}%20%25?sig=1" for number in range(20)}
    assert OutputFile(path="/out/sub/7 %", url=f"{server.url}/d/sub/7%20%25?sig=1", size_bytes=1) in delivered


async def test_a_cancelled_download_leaves_nothing(
    server: Server, transfers: Transfers, task: Namespace, tree: Path
) -> None:
    begun = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(CONTENT)
        begun.set()
        await asyncio.sleep(60)
        return response

    server.script = [endless]
    fetching = asyncio.create_task(transfers.fetch(f"{server.url}/x", FILE, task, "/in/x"))
    await begun.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching

    assert os.listdir(tree / "in") == []
