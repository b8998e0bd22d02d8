"""Attempts that nobody disturbs."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from aiohttp import BasicAuth, web
from azure.core.exceptions import AzureError
from pytest_aiohttp.plugin import AiohttpServer
from tesgw_batch.documents import ORDERS, SECRETS, STATUS, Secrets
from tesgw_batch.node.logs import redacted
from tesgw_batch.node.main import main, run

from tesgw import FileType, Input, Job, Output, State
from tests.plugins.batch.node.bench import WAIT, Bench, containers
from tests.runner.conftest import make_job, sh

pytestmark = pytest.mark.engine

COMMAND = Path(sys.executable).with_name("tesgw-batch")
OUTPUT = Output(path="/out/file", url="az://data/out.txt")


class FakeRegistry:
    """A registry that has nothing, and notes who asks for it."""

    def __init__(self) -> None:
        self.address = ""
        self.seen: tuple[str, str] | None = None
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.set()
        await self.may_answer.wait()
        given = request.headers.get("Authorization")
        if not given:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        login = BasicAuth.decode(given)
        self.seen = (login.login, login.password)
        return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}, status=404)


@pytest.fixture
async def registry(aiohttp_server: AiohttpServer) -> FakeRegistry:
    fake = FakeRegistry()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    server = await aiohttp_server(app)
    fake.address = f"127.0.0.1:{server.port}"
    return fake


async def run_here(bench: Bench, job: Job, url: str) -> None:
    await run(bench.node(job), url)


async def has(bench: Bench, name: str) -> bool:
    return await bench.container.get_blob_client(name).exists()


async def test_a_job_runs_from_signed_blobs_to_signed_blobs(bench: Bench) -> None:
    await bench.put("in.txt", b"hello\n")
    job = make_job(
        sh("cat /in/file > /tes-wd/between; echo one"),
        sh("cp /tes-wd/between /out/file; echo two; echo three >&2"),
        inputs=(Input(path="/in/file", url="az://data/in.txt"),),
        outputs=(OUTPUT,),
    )
    environment = {**os.environ, **bench.environment(job.id), "TESGW_ORDER_URL": await bench.order(job)}
    runner = await asyncio.create_subprocess_exec(COMMAND, "run", env=environment)

    assert await runner.wait() == 0
    report = await bench.report(job)
    assert report.node == "node1"
    assert report.observation.state is State.COMPLETE
    assert [log.exit_code for log in report.observation.executors] == [0, 0]
    assert [log.stdout for log in report.observation.executors] == ["one\n", "two\n"]
    assert [(file.url, file.size_bytes) for file in report.observation.outputs] == [("az://data/out.txt", 6)]
    assert await bench.get("out.txt") == b"hello\n"


async def test_nothing_is_left_of_an_attempt_but_its_report(bench: Bench) -> None:
    job = make_job(sh("true"))
    await run_here(bench, job, await bench.order(job))

    assert (await bench.status(job).get_blob_properties()).lease.state == "available"
    assert not containers(job.id)
    assert not bench.heartbeat(job.id).exists()
    assert not list((bench.node(job).work_dir / "jobs").iterdir())


async def test_directories_are_fetched_and_delivered_below_what_is_signed(bench: Bench) -> None:
    await bench.put("tree/a b/c", b"1")
    await bench.put("tree/d", b"2")
    job = make_job(
        sh("cp -r /in/tree /out/copy; cp /in/tree/d /out/x.txt"),
        inputs=(Input(path="/in/tree", url="az://data/tree", type=FileType.DIRECTORY),),
        outputs=(
            Output(path="/out/copy", url="az://data/copy/", type=FileType.DIRECTORY),
            Output(path="/out/*.txt", path_prefix="/out", url="az://data/globbed"),
        ),
    )
    await run_here(bench, job, await bench.order(job))

    assert (await bench.observe(job)).state is State.COMPLETE
    assert await bench.get("copy/a b/c") == b"1"
    assert await bench.get("globbed/x.txt") == b"2"
    urls = {file.url for file in (await bench.observe(job)).outputs}
    assert urls == {"az://data/copy/a%20b/c", "az://data/copy/d", "az://data/globbed/x.txt"}


async def test_what_is_running_shows_while_it_runs(bench: Bench) -> None:
    job = make_job(sh(f"echo so far; {WAIT}"))
    runner = bench.begin(job, await bench.order(job))

    seen = await bench.until(job, lambda seen: seen.executors and seen.executors[0].stdout)
    assert seen.state is State.RUNNING
    assert seen.executors[0].stdout == "so far\n"
    assert (await bench.status(job).get_blob_properties()).lease.state == "leased"
    bench.go(job)
    await runner


async def test_the_file_share_is_the_shared_global_directory(bench: Bench) -> None:
    job = make_job(sh("cp /tes-wd/shared-global/in /tes-wd/shared-global/out"))
    share = bench.node(job).file_share
    share.mkdir()
    (share / "in").write_text("hello")
    await run_here(bench, job, await bench.order(job))

    assert (share / "out").read_text() == "hello"


async def test_an_order_that_was_taken_back_is_not_run(bench: Bench) -> None:
    job = make_job(sh("true"))
    url = await bench.order(job)
    await bench.container.delete_blob(ORDERS + job.id)

    await run_here(bench, job, url)

    assert not await has(bench, STATUS + job.id)


async def test_an_order_that_is_taken_back_while_it_is_claimed_leaves_nothing(bench: Bench) -> None:
    job = make_job(sh("true"), outputs=(OUTPUT,))
    async with bench.through_proxy() as proxy:
        url = await bench.order(job)

        async def take_back(data: bytes) -> None:
            if data.startswith(b"PUT ") and STATUS.encode() in data.partition(b"\n")[0]:
                await bench.container.delete_blob(ORDERS + job.id)

        proxy.before = take_back
        await run_here(bench, job, url)

    assert not await has(bench, ORDERS + job.id)
    assert not await has(bench, STATUS + job.id)
    assert not bench.heartbeat(job.id).exists()


async def test_a_claim_of_an_earlier_run_on_the_same_node_is_not_taken_for_ones_own(bench: Bench) -> None:
    job = make_job(sh("true"))
    async with bench.through_proxy() as proxy:
        url = await bench.order(job)

        async def fail(data: bytes) -> None:
            if data.startswith(b"PUT ") and b"comp=lease" in data.partition(b"\n")[0]:
                raise ConnectionResetError

        proxy.before = fail
        with pytest.raises(AzureError):
            await run_here(bench, job, url)
        proxy.before = None
        await run_here(bench, job, url)

    assert (await bench.observe(job)).state is State.PREEMPTED
    assert not (await bench.observe(job)).executors


async def test_a_private_registry_is_asked_with_secrets_that_are_gone(bench: Bench, registry: FakeRegistry) -> None:
    registry.may_answer.clear()
    job = make_job(sh("true", image=f"{registry.address}/team/image:1"))
    secrets = Secrets(registry_url=registry.address, registry_username="me", registry_password="mine")
    runner = bench.begin(job, await bench.order(job, secrets=secrets))
    await registry.asked.wait()

    assert not await has(bench, SECRETS + job.id)
    registry.may_answer.set()
    await runner
    assert registry.seen == ("me", "mine")


async def test_a_node_without_the_start_task_runs_nothing(bench: Bench) -> None:
    job = make_job(sh("true"))
    node, url = bench.node(job), await bench.order(job)
    (node.shared_dir / "tesgw" / "ready").unlink()
    await run(node, url)

    seen = await bench.observe(job)
    assert seen.state is State.SYSTEM_ERROR
    assert "`tesgw-batch start-task` prints" in seen.system_logs[-1]
    assert not seen.executors


async def test_outputs_are_delivered_with_the_signatures_of_then(bench: Bench) -> None:
    job = make_job(sh(f"echo hello > /out/file; {WAIT}"), outputs=(OUTPUT,))
    url = await bench.order(job, signed={OUTPUT.url: f"{bench.url('out.txt').partition('sig=')[0]}sig=expired"})
    runner = bench.begin(job, url)
    await bench.until(job, lambda seen: seen.state is State.RUNNING)
    await bench.order(job)
    bench.go(job)
    await runner

    assert (await bench.observe(job)).state is State.COMPLETE
    assert await bench.get("out.txt") == b"hello\n"


async def test_no_signature_is_said_anywhere(bench: Bench) -> None:
    job = make_job(sh("echo hello > /out/file"), outputs=(OUTPUT,))
    url = await bench.order(job, signed=bench.signed(job, "r"))
    runner = await bench.start(job, url)

    code, said = await runner.ended()
    seen = await bench.observe(job)
    assert code == 0
    assert seen.state is State.SYSTEM_ERROR
    assert "az://data/out.txt could not be delivered: the storage account forbids it" in seen.system_logs[-1]
    assert "sig=" not in said + str(seen)


async def test_what_fails_in_the_runner_itself_is_told(bench: Bench) -> None:
    job = make_job(sh("true"))
    forbidden = f"{bench.url('secrets').partition('sig=')[0]}sig=forged"
    await run_here(bench, job, await bench.order(job, secrets_url=forbidden))

    seen = await bench.observe(job)
    assert seen.state is State.SYSTEM_ERROR
    assert "node1 failed" in seen.system_logs[-1]
    assert "forged" not in seen.system_logs[-1]


def test_signatures_are_taken_out_of_texts() -> None:
    text = "GET https://a.blob.core.windows.net/c/b?sv=1&sig=a%2Bb%3D&se=2 'http://h/?SIG=x' failed"

    assert redacted(text) == "GET https://a.blob.core.windows.net/c/b?sv=1&sig=…&se=2 'http://h/?SIG=…' failed"


def test_a_runner_without_an_order_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TESGW_ORDER_URL", raising=False)

    assert main([]) == 2
    assert "TESGW_ORDER_URL is not set" in capsys.readouterr().err
