"""The double of Azure Batch, as a service that Microsoft's SDK talks to over HTTP."""

from __future__ import annotations

import asyncio
import hmac
import ssl
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from aiohttp import web

from tesgw_batch.fake_batch import file_routes, job_routes, pool_routes
from tesgw_batch.fake_batch.account import Account
from tesgw_batch.fake_batch.answers import ACCOUNT
from tesgw_batch.fake_batch.clock import Clock
from tesgw_batch.fake_batch.execution import Program
from tesgw_batch.fake_batch.faults import Fault, Faults
from tesgw_batch.fake_batch.nodes import Node
from tesgw_batch.fake_batch.problems import Problem, bad_query, unknown_here
from tesgw_batch.fake_batch.signature import authorization
from tesgw_batch.fake_batch.world import Pace, Quotas, World

API_VERSION = "2025-06-01"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(eq=False, repr=False)
class FakeBatch:
    """A Batch account on this machine. Nodes are directories below `directory`; they end with `stop`."""

    directory: Path
    _: KW_ONLY
    account: str
    key: str
    mounts: Path
    programs: Mapping[str, Program] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    quotas: Quotas = field(default_factory=Quotas)
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self._world = World(
            account=self.account,
            directory=self.directory,
            mounts=self.mounts,
            programs=self.programs,
            variables=self.variables,
            clock=self.clock,
            quotas=self.quotas,
            pace=self.pace,
        )
        self._account = Account(self._world)
        self._runners: list[web.AppRunner] = []
        self.faults = Faults(self._account)
        self.requests: Counter[str] = Counter()
        """How often what was asked, by `METHOD /template`."""

    @property
    def url(self) -> str:
        return self._world.url

    @property
    def nodes(self) -> list[Node]:
        """Those that the service knows, of all pools."""
        return [node for pool in self._account.pools() for node in pool.nodes.values()]

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; 0: on whatever port is free."""
        self._world.url = f"http://{host}:{await self._listen(self._app(), host, port)}"

    async def start_arm(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen for Azure Resource Manager's clients, too; its URL. They have to trust `ca.pem` in the directory."""
        from tesgw_batch.fake_batch.arm import application, tls

        context = await asyncio.to_thread(tls, self.directory)
        return f"https://{host}:{await self._listen(application(self._account), host, port, context)}"

    async def stop(self) -> None:
        """Answer no more, and end all nodes with what runs there."""
        for runner in self._runners:
            await runner.cleanup()
        await self._account.close()
        await self._world.close()

    async def _listen(self, app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        return int(runner.addresses[0][1])

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._count, self._err, self._answer], client_max_size=16 * 1024**2)
        app[ACCOUNT] = self._account
        for routes in (pool_routes.routes, job_routes.routes, file_routes.routes):
            app.add_routes(routes)
        return app

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests[_route(request)] += 1
        response = await handler(request)
        response.headers["request-id"] = str(uuid.uuid4())
        return response

    @web.middleware
    async def _err(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What befalls the request instead of what it asks for, or before, or after."""
        fault = self.faults.next(_route(request))
        if fault is None:
            return await handler(request)
        if fault.kind == "answer lost":
            await handler(request)
        if fault.kind in ("answer lost", "down"):
            return _hang_up(request)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return await handler(request)
        return _failure(fault)

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._admit(request)
            return await handler(request)
        except Problem as problem:
            return problem.answer()
        except web.HTTPException as error:
            if error.status in (404, 405):
                return unknown_here(f"{request.method} {request.path}").answer()
            raise

    def _admit(self, request: web.Request) -> None:
        """Raises `Problem` for those who have not the key, or speak another version."""
        raw = {name: request.headers[name] for name in request.headers}
        wanted = authorization(request.method, request.raw_path, raw, account=self.account, key=self.key)
        if not hmac.compare_digest(request.headers.get("Authorization", ""), wanted):
            text = (
                "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly."
            )
            raise Problem(401, "AuthenticationFailed", text)
        version = request.query.get("api-version", "")
        if version != API_VERSION:
            raise bad_query("api-version", version, f"The double of Azure Batch speaks {API_VERSION}.")


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else request.path}"


def _failure(fault: Fault) -> web.Response:
    if fault.kind == "throttled":
        answer = Problem(429, "TooManyRequests", "Too many requests have been made to this account.").answer()
        answer.headers["Retry-After"] = f"{fault.seconds:g}"
        return answer
    return Problem(500, "InternalError", "Server encountered an internal error. Please try again.").answer()


def _hang_up(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()
