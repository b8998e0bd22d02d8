from __future__ import annotations

import dataclasses

import pytest
from tesgw_batch.signing import Signer

from tesgw import BackendRefused, FileType, Input, Job, Layout, Output, Resources, Task
from tesgw.staging import plan

KEY = "a2V5"
CLOUD = "https://acct.blob.core.windows.net"
EMULATOR = "http://127.0.0.1:10000/acct"


def signer(url: str = CLOUD) -> Signer:
    return Signer(url, "acct", KEY, reserved="batchtmp")


def job(inputs: tuple[Input, ...] = (), outputs: tuple[Output, ...] = ()) -> Job:
    return plan(Task(id="t", executors=(), inputs=inputs, outputs=outputs, resources=Resources()), Layout())


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"{CLOUD}/c1c/b", ("c1c", "b")),
        (f"{CLOUD}/c1c/d/e%20f%2Fg%3Fh%25i.txt", ("c1c", "d/e f/g?h%i.txt")),
        (f"{CLOUD}/c1c/%C3%A9.txt", ("c1c", "é.txt")),
        (f"{CLOUD}/c1c/é.txt", ("c1c", "é.txt")),
        (f"{CLOUD}/c1c//b", ("c1c", "/b")),
        (f"{CLOUD}/c1c/d/", ("c1c", "d/")),
        (f"{CLOUD}/c1c/a+b..c/.d", ("c1c", "a+b..c/.d")),
        (f"{CLOUD}/c1c", ("c1c", "")),
        (f"{CLOUD}/c1c/", ("c1c", "")),
        (f"{CLOUD}:443/c1c/b", ("c1c", "b")),
        ("HTTPS://ACCT.blob.core.windows.net/c1c/b", ("c1c", "b")),
        ("az://acct/c1c/d/b", ("c1c", "d/b")),
        ("az://ACCT/c1c/b", ("c1c", "b")),
        ("az://c1c/d/b", ("c1c", "d/b")),
        ("az://c1c", ("c1c", "")),
        ("az://c1c/a%20b c", ("c1c", "a b c")),
        ("/acct/c1c/d/b", ("c1c", "d/b")),
        ("/acct/c1c/100%25?#", ("c1c", "100%25?#")),
        ("az://$web/index.html", ("$web", "index.html")),
    ],
)
def test_every_way_to_name_a_blob_of_the_account_is_understood(url: str, place: tuple[str, str]) -> None:
    assert signer().resolve(url) == place


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"{EMULATOR}/c1c/d/b", ("c1c", "d/b")),
        ("az://acct/c1c/b", ("c1c", "b")),
        ("/acct/c1c/b", ("c1c", "b")),
        ("http://127.0.0.1:10000/acct", None),
        ("http://127.0.0.1:10000/other/c1c/b", None),
        ("http://127.0.0.1:10000/acct2/c1c/b", None),
        ("http://127.0.0.1:10001/acct/c1c/b", None),
        (f"{CLOUD}/c1c/b", None),
    ],
)
def test_an_emulator_has_the_account_in_its_paths(url: str, place: tuple[str, str] | None) -> None:
    assert signer(EMULATOR).resolve(url) == place
    assert signer(f"{EMULATOR}/").resolve(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "https://other.blob.core.windows.net/c1c/b",
        "https://acct.blob.core.windows.net.evil.example/c1c/b",
        "https://acct@evil.example/c1c/b",
        "https://user@acct.blob.core.windows.net/c1c/b",
        "https://acct.blob.core.windows.net:8443/c1c/b",
        "https://acct.blob.core.windows.net:port/c1c/b",
        "http://acct.blob.core.windows.net/c1c/b",
        "https://acct.file.core.windows.net/c1c/b",
        f"{CLOUD}/c1c/b?sv=1&sig=abc",
        f"{CLOUD}/batchtmp/b?sv=1&sig=abc",
        f"{CLOUD}/c1c/b?snapshot=2026-01-01",
        f"{CLOUD}/c1c/b#part",
        "az://c1c/b?sig=abc",
        CLOUD,
        "/tes-wd/shared-global/x",
        "/acct2/c1c/b",
        "acct/c1c/b",
        "s3://c1c/b",
        "https://[bad/c1c/b",
        "",
    ],
)
def test_what_is_not_in_the_account_or_is_signed_is_left_alone(url: str) -> None:
    assert signer().resolve(url) is None


@pytest.mark.parametrize(
    "url",
    [
        f"{CLOUD}/batchtmp/orders/x",
        f"{CLOUD}/batchtmp",
        f"{CLOUD}/BatchTmp/orders/x",
        f"{CLOUD}/%62atchtmp/orders/x",
        f"{CLOUD}/batchtmp%2Forders%2Fx",
        f"{CLOUD}/batchtm%2570/orders/x",
        f"{CLOUD}/bat\nchtmp/orders/x",
        f"{CLOUD}/batchtmp%00/orders/x",
        f"{CLOUD}/batchtmp%20/orders/x",
        f"{CLOUD}/batchtmp./orders/x",
        f"{CLOUD}/batchtmp\\orders\\x",
        f"{CLOUD}//batchtmp/orders/x",
        f"{CLOUD}/./batchtmp/orders/x",
        f"{CLOUD}/c1c/../batchtmp/orders/x",
        f"{CLOUD}/c1c/%2e%2E/batchtmp/orders/x",
        f"{CLOUD}/c1c/..%2Fbatchtmp/orders/x",
        f"{CLOUD}/c1c/..%5Cbatchtmp/orders/x",
        f"{CLOUD}/c1c/..\\batchtmp\\orders\\x",
        f"{CLOUD}/c1c/a/../../batchtmp/orders/x",
        f"{CLOUD}/../acct/batchtmp/orders/x",
        "az://batchtmp/orders/x",
        "az://BATCHTMP/orders/x",
        "az://%62atchtmp/orders/x",
        "az://acct/batchtmp/orders/x",
        "az://acct/c1c/../batchtmp/orders/x",
        "az:///batchtmp/orders/x",
        "/acct/batchtmp/orders/x",
        "/acct/Batchtmp/orders/x",
        "/acct/c1c/../batchtmp/orders/x",
        "/acct//batchtmp/orders/x",
    ],
)
def test_no_spelling_leads_a_task_to_the_documents_of_others(url: str) -> None:
    with pytest.raises(BackendRefused):
        signer().resolve(url)
    if url.startswith(CLOUD):
        with pytest.raises(BackendRefused):
            signer(EMULATOR).resolve(url.replace(CLOUD, EMULATOR))


@pytest.mark.parametrize("url", [f"{CLOUD}/c1c/%FF", f"{CLOUD}/c1c/\ud800", f"{CLOUD}/ab/x", f"{CLOUD}/a--b/x", f"{CLOUD}/"])
def test_what_azure_cannot_have_is_refused(url: str) -> None:
    with pytest.raises(BackendRefused, match=r"UTF-8|no blob container"):
        signer().resolve(url)


async def test_a_task_gets_the_rights_that_it_needs_and_no_others() -> None:
    table = await signer().signed(
        job(
            inputs=(
                Input(path="/in/a", url="az://c1c/a"),
                Input(path="/in/d", url="az://c1c/d/", type=FileType.DIRECTORY),
                Input(path="/in/both", url="az://c1c/both"),
                Input(path="/in/text", url="az://c1c/ignored", content="text"),
                Input(path="/in/web", url="https://example.org/x"),
                Input(path="/in/signed", url=f"{CLOUD}/c1c/b?sig=abc"),
            ),
            outputs=(
                Output(path="/out/a", url="az://c1c/out"),
                Output(path="/out/d", url="az://c1c/outs", type=FileType.DIRECTORY),
                Output(path="/out/*", url="az://c1c/many"),
                Output(path="/out/both", url="az://c1c/both"),
                Output(path="/out/s3", url="s3://c1c/x"),
            ),
        )
    )

    assert {url: rights(signed) for url, signed in table.items()} == {
        "az://c1c/a": (f"{CLOUD}/c1c/a", "b", "r"),
        "az://c1c/d/": (f"{CLOUD}/c1c/d/", "c", "rl"),
        "az://c1c/both": (f"{CLOUD}/c1c/both", "c", "rcw"),
        "az://c1c/out": (f"{CLOUD}/c1c/out", "c", "cw"),
        "az://c1c/outs": (f"{CLOUD}/c1c/outs", "c", "cw"),
        "az://c1c/many": (f"{CLOUD}/c1c/many", "c", "cw"),
    }


def rights(signed: str) -> tuple[str, str, str]:
    url, _, query = signed.partition("?")
    fields = dict(field.split("=") for field in query.split("&"))
    return url, fields["sr"], fields["sp"]


async def test_what_is_used_in_place_is_not_signed() -> None:
    made = job(inputs=(Input(path="/x", url="az://c1c/a"),), outputs=(Output(path="/y", url="az://c1c/b"),))
    in_place = dataclasses.replace(
        made,
        inputs=tuple(dataclasses.replace(item, in_place=True) for item in made.inputs),
        outputs=tuple(dataclasses.replace(item, in_place=True) for item in made.outputs),
    )

    assert await signer().signed(in_place) == {}


async def test_a_container_is_a_directory_and_no_file() -> None:
    whole = job(inputs=(Input(path="/x", url="az://c1c", type=FileType.DIRECTORY),))

    assert rights((await signer().signed(whole))["az://c1c"]) == (f"{CLOUD}/c1c", "c", "rl")
    with pytest.raises(BackendRefused, match="names a container"):
        await signer().signed(job(inputs=(Input(path="/x", url="az://c1c"),)))


async def test_a_task_that_names_the_gateways_container_gets_no_signature_at_all() -> None:
    with pytest.raises(BackendRefused, match="gateway's own"):
        await signer().signed(job(outputs=(Output(path="/x", url="az://c1c/b"), Output(path="/y", url="az://batchtmp/y"))))


async def test_names_are_quoted_so_that_a_url_means_the_same_blob() -> None:
    signed = await signer().sign("c1c", "d e/100%25?#é~.txt", "r")

    assert signed.partition("?")[0] == f"{CLOUD}/c1c/d%20e/100%2525%3F%23%C3%A9~.txt"
