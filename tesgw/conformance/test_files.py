"""Files: inputs are there before the first executor, outputs are delivered after the last."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from tesgw.conformance.case import Case, Result
from tesgw.conformance.rules import rule
from tesgw.states import State

ODD_NAMES = ("a b", "ü日😀", "line\nbreak", "100%", "%2e%2e", "a?b#c", "*", "[x]", "-x", "'\"", ".hidden", "sub dir/deep")


@rule()
async def test_a_file_is_fetched_byte_for_byte(case: Case) -> None:
    content = bytes(range(256)) * 8192
    inputs = [
        {"path": "/in/new/deep/data", "url": case.put("data", content)},
        {"path": "/in/a b;ü", "url": case.put("a b;ü%", b"odd")},
        {"path": "/in/empty", "url": case.put("empty", b"")},
    ]

    result = await case.run(case.sh("sha256sum </in/new/deep/data; cat '/in/a b;ü'; wc -c </in/empty"), inputs=inputs)

    assert result.state is State.COMPLETE, result
    assert result.stdout == hashlib.sha256(content).hexdigest() + "  -\nodd0\n"


@rule()
async def test_content_makes_a_file_and_wins_over_a_url(case: Case) -> None:
    text = "ü日😀\r\n\ttab $HOME 'quoted'\n" * 10_000

    result = await case.run(
        case.sh("sha256sum </in/text; wc -c </in/empty; cat /in/both; echo more >>/in/both"),
        inputs=[
            {"path": "/in/text", "content": text},
            {"path": "/in/empty", "content": ""},
            {"path": "/in/both", "content": "content\n", "url": case.put("both", b"url\n")},
        ],
    )

    assert result.state is State.COMPLETE, result
    assert result.stdout == hashlib.sha256(text.encode()).hexdigest() + "  -\n0\ncontent\n"
    assert case.reads("both") == 0


@rule()
async def test_files_and_directories_come_from_the_shared_directory_as_copies(case: Case) -> None:
    _write(case.shared / "dir", {"file": "file\n", "a b/deep": "deep\n", ".hidden": "hidden\n"})
    (case.shared / "dir" / "empty").mkdir()
    names = {
        "/in/path": f"{case.shared_path}/dir/file",
        "/in/url": f"file://{case.shared_path}/dir/file",
        "/in/quoted": f"file://{case.shared_path}/dir/a%20b/deep",
    }
    inputs = [{"path": path, "url": url} for path, url in names.items()]
    directory = {"path": "/in/dir", "url": f"file://{case.shared_path}/dir", "type": "DIRECTORY"}

    result = await case.run(
        case.sh(
            "cd /in; cat path url quoted dir/file 'dir/a b/deep' dir/.hidden; ls -d dir/empty; echo x >>path; rm -r dir"
        ),
        inputs=[directory, *inputs],
    )

    assert result.state is State.COMPLETE, result
    assert result.stdout.split() == ["file", "file", "deep", "file", "deep", "hidden", "dir/empty"]
    assert _read(case.shared / "dir") == {"file": "file\n", "a b/deep": "deep\n", ".hidden": "hidden\n"}


@rule()
async def test_a_file_wins_over_one_in_a_directory_that_is_put_around_it(case: Case) -> None:
    _write(case.shared / "dir", {"config": "of the directory\n", "other": "other\n"})

    result = await case.run(
        case.sh("cat /in/config /in/other"),
        inputs=[
            {"path": "/in/config", "content": "of the task\n"},
            {"path": "/in", "url": f"{case.shared_path}/dir", "type": "DIRECTORY"},
        ],
    )

    assert result.stdout == "of the task\nother\n", result


@rule()
async def test_files_whose_url_is_their_path_are_used_in_place(case: Case) -> None:
    """That is how Cromwell uses a TES server: its directory is the shared one, and nothing is to be copied."""
    _write(case.shared, {"in": "given\n", "dir/a": "a\n"})
    file, directory, made = (f"{case.shared_path}/{name}" for name in ("in", "dir", "new/made"))
    before = (case.shared / "in").stat().st_ino

    result = await case.run(
        case.sh(f"ls -i {file}; echo more >>{file}; echo b >{directory}/b; echo made >{made}"),
        inputs=[{"path": file, "url": file}, {"path": directory, "url": f"file://{directory}", "type": "DIRECTORY"}],
        outputs=[{"path": made, "url": f"file://{made}"}, {"path": directory, "url": directory, "type": "DIRECTORY"}],
    )

    assert result.state is State.COMPLETE, result
    assert before == (case.shared / "in").stat().st_ino == int(result.stdout.split()[0]), "It is the file itself."
    assert _read(case.shared) == {"in": "given\nmore\n", "dir/a": "a\n", "dir/b": "b\n", "new/made": "made\n"}
    assert _sizes(result) == {made: 5, f"{directory}/a": 2, f"{directory}/b": 2}


@rule()
async def test_outputs_go_to_the_shared_directory_and_replace_or_join_what_is_there(case: Case) -> None:
    _write(case.shared / "to", {"file": "a longer one that was there before\n", "dir/old": "kept\n", "dir/both": "before\n"})

    result = await case.run(
        case.sh("echo file >/out/file; mkdir -p /out/dir/sub; echo new >/out/dir/sub/new; echo after >/out/dir/both"),
        outputs=[
            {"path": "/out/file", "url": f"{case.shared_path}/to/file"},
            {"path": "/out/file", "url": f"file://{case.shared_path}/to/new%20place/file"},
            {"path": "/out/dir", "url": f"file://{case.shared_path}/to/dir", "type": "DIRECTORY"},
        ],
    )

    assert result.state is State.COMPLETE, result
    assert _read(case.shared / "to") == {
        "file": "file\n",
        "new place/file": "file\n",
        "dir/old": "kept\n",
        "dir/both": "after\n",
        "dir/sub/new": "new\n",
    }


@rule()
async def test_the_log_has_each_delivered_file_with_its_url_and_size(case: Case) -> None:
    result = await case.run(
        case.sh("mkdir -p /out/dir/sub; cd /out; printf 12345 >file; : >dir/empty; head -c 70000 /dev/zero >dir/sub/zeros"),
        outputs=[
            {"path": "/out/file", "url": case.url("file")},
            {"path": "/out/dir", "url": case.url("dir"), "type": "DIRECTORY"},
            {"path": "/out/f*", "path_prefix": "/out", "url": case.url("found")},
        ],
    )

    told = sorted((each.url, each.path, each.size_bytes) for each in result.outputs)
    sizes = {"file": ("file", 5), "dir/empty": ("dir/empty", 0), "dir/sub/zeros": ("dir/sub/zeros", 70_000)}
    assert told == sorted(
        (case.url(name), f"/out/{path}", size) for name, (path, size) in (sizes | {"found/file": ("file", 5)}).items()
    )
    assert {name: len(content) for name, content in case.delivered.items()} == {
        "file": 5,
        "dir/empty": 0,
        "dir/sub/zeros": 70_000,
        "found/file": 5,
    }


@rule()
async def test_wildcards_select_as_a_shell_does(case: Case) -> None:
    names = "a.txt b.txt d.txt .h.txt A.txt x.log sub/a.txt sub/.h/a.txt ab/cd/e.txt 'a?' 'b b.txt'"
    wanted = {
        "star/*.txt": ["A.txt", "a.txt", "b b.txt", "b.txt", "d.txt"],
        "mark/?.txt": ["A.txt", "a.txt", "b.txt", "d.txt"],
        "set/[a-c].txt": ["a.txt", "b.txt"],
        "not/[!a-c].txt": ["A.txt", "d.txt"],
        "dot/.*.txt": [".h.txt"],
        "deep/*/a.txt": ["sub/a.txt"],
        "deeper/*/*/*": ["ab/cd/e.txt"],
        "folder/s*": ["sub/.h/a.txt", "sub/a.txt"],
    }

    result = await case.run(
        case.sh(f'cd /out; mkdir -p sub/.h ab/cd; for n in {names}; do echo x >"$n"; done'),
        outputs=[
            {"path": f"/out/{pattern.partition('/')[2]}", "path_prefix": "/out", "url": case.url(pattern.partition("/")[0])}
            for pattern in wanted
        ],
    )

    found = {pattern: _below(case, pattern.partition("/")[0]) for pattern in wanted}
    assert result.state is State.COMPLETE, result
    assert found == wanted


@rule()
async def test_the_prefix_is_what_is_taken_off_the_path(case: Case) -> None:
    """A pattern that matches nothing takes nothing from the task's success."""
    result = await case.run(
        case.sh("mkdir -p /out/run/1; echo x >/out/run/1/file"),
        outputs=[
            {"path": "/out/run/*/file", "path_prefix": "/out", "url": case.url("one")},
            {"path": "/out/run/1/*", "path_prefix": "/out/run/1/", "url": case.url("two") + "/"},
            {"path": "/out/run/*/none", "path_prefix": "/out", "url": case.url("none")},
        ],
    )

    assert result.state is State.COMPLETE, result
    assert sorted(case.delivered) == ["one/run/1/file", "two/file"]


@rule()
async def test_outputs_of_a_failed_task_are_delivered(case: Case) -> None:
    result = await case.run(
        case.sh("echo kept >/out/kept; exit 4"),
        case.sh("echo never >/out/kept"),
        outputs=[{"path": f"/out/{name}", "url": case.url(name)} for name in ("missing", "kept")],
    )

    assert result.state is State.EXECUTOR_ERROR, "A missing output does not hide that an executor failed."
    assert case.delivered == {"kept": b"kept\n"}
    assert _sizes(result) == {"/out/kept": 5}


@rule()
async def test_a_missing_output_is_a_system_error_that_names_it(case: Case) -> None:
    result = await case.run(
        case.sh("echo kept >/out/kept"),
        outputs=[{"path": f"/out/{name}", "url": case.url(name)} for name in ("missing", "kept")],
    )

    assert result.state is State.SYSTEM_ERROR
    assert result.says("/out/missing"), result.system_logs
    assert not result.says("/out/kept")
    assert case.delivered == {"kept": b"kept\n"}


@rule()
async def test_a_missing_output_may_be_no_more_than_a_warning(case: Case) -> None:
    result = await case.run(
        case.sh("true"),
        outputs=[{"path": "/out/missing", "url": case.url("missing")}],
        missing_outputs="warn",  # what the gateway makes of the backend parameter
        resources={"backend_parameters": {"missing_outputs": "warn"}},
    )

    assert result.state is State.COMPLETE
    assert result.says("/out/missing"), result.system_logs


@rule()
async def test_an_output_that_cannot_be_delivered_is_a_system_error_that_names_it(case: Case) -> None:
    result = await case.run(
        case.sh("echo x >/out/x"),
        outputs=[{"path": "/out/x", "url": "odd://nowhere/x"}, {"path": "/out/x", "url": case.url("x")}],
    )

    assert result.state is State.SYSTEM_ERROR
    assert result.says("/out/x"), result.system_logs
    assert result.says("odd"), result.system_logs
    assert case.delivered == {"x": b"x\n"}, "The others are delivered."


@rule()
async def test_a_missing_input_is_a_system_error_that_names_it_and_nothing_runs(case: Case) -> None:
    (case.shared / "directory").mkdir()
    urls = {
        case.url("missing"): "missing",
        f"file://{case.shared_path}/missing": "missing",
        f"{case.shared_path}/directory": "directory",
        "odd://nowhere/missing": "odd",
    }
    for url, word in urls.items():
        result = await case.run(case.sh(f"touch {case.shared_path}/ran"), inputs=[{"path": "/in/file", "url": url}])

        assert result.state is State.SYSTEM_ERROR, url
        assert result.says(word), result.system_logs
        assert result.executors == ()
    assert not (case.shared / "ran").exists()


@rule()
async def test_an_output_may_be_an_input_too(case: Case) -> None:
    file = {"path": "/data/file", "url": f"{case.shared_path}/file"}
    _write(case.shared, {"file": "a longer one that was there before\n"})

    result = await case.run(case.sh("cat /data/file; echo after >/data/file"), inputs=[file], outputs=[file])

    assert result.state is State.COMPLETE, result
    assert result.stdout == "a longer one that was there before\n"
    assert _read(case.shared) == {"file": "after\n"}


@rule()
async def test_names_may_hold_any_character(case: Case) -> None:
    makes = case.sh('cd /out; mkdir "sub dir"; for name; do printf %s "$name" >"$name"; done')
    makes["command"] += ["-", *ODD_NAMES]

    result = await case.run(
        makes,
        outputs=[
            {"path": "/out", "url": case.url("http"), "type": "DIRECTORY"},
            {"path": "/out", "url": f"file://{case.shared_path}/{quote('to ü%')}", "type": "DIRECTORY"},
            {"path": "/out/sub dir/deep", "url": case.url("one of them")},
        ],
    )

    assert result.state is State.COMPLETE, result
    assert _read(case.shared / "to ü%") == {name: name for name in ODD_NAMES}
    assert case.delivered == {f"http/{name}": name.encode() for name in ODD_NAMES} | {"one of them": b"sub dir/deep"}
    assert sorted(_sizes(result)) == sorted({f"/out/{name}" for name in ODD_NAMES})


@rule()
async def test_links_in_outputs_are_followed_inside_the_task(case: Case) -> None:
    result = await case.run(
        case.sh(
            "mkdir -p /out/dir /data/dir; echo data >/data/file; echo deep >/data/dir/deep; cd /out/dir;"
            "ln -s /data/file absolute; ln -s ../../data/file relative; ln -s /data/dir folder; ln -s absolute twice;"
            "ln -s /nowhere dangling; ln -s loop loop; ln -s /out/dir/twice ../link; ln -s /data ../data"
        ),
        outputs=[
            {"path": "/out/dir", "url": case.url("dir"), "type": "DIRECTORY"},
            {"path": "/out/link", "url": case.url("link")},
            {"path": "/out/*/fi*", "path_prefix": "/out", "url": case.url("found")},
        ],
        volumes=["/data"],
    )

    assert result.state is State.COMPLETE, result
    assert case.delivered == {
        **{f"dir/{name}": b"data\n" for name in ("absolute", "relative", "twice")},
        "dir/folder/deep": b"deep\n",
        "link": b"data\n",
        "found/data/file": b"data\n",
    }


@rule()
async def test_what_is_no_file_is_left_out_of_outputs_and_keeps_nobody_waiting(case: Case) -> None:
    result = await case.run(
        case.sh("mkdir /out/dir; mkfifo /out/dir/pipe /out/pipe; echo x >/out/dir/file"),
        outputs=[
            {"path": "/out/dir", "url": case.url("dir"), "type": "DIRECTORY"},
            {"path": "/out/pipe", "url": case.url("pipe")},
        ],
    )

    assert result.state is State.SYSTEM_ERROR, "Named itself, it counts as missing."
    assert result.says("/out/pipe")
    assert case.delivered == {"dir/file": b"x\n"}


@rule()
async def test_programs_stay_programs_and_files_can_be_changed(case: Case) -> None:
    _write(case.shared, {"program": "#!/bin/sh\necho runs\n", "dir/program": "#!/bin/sh\necho too\n", "closed": "x\n"})
    for name, mode in (("program", 0o755), ("dir/program", 0o755), ("closed", 0o444)):
        (case.shared / name).chmod(mode)

    result = await case.run(
        case.sh(
            "/in/program && /in/dir/program && cp /in/program /out/made && echo more >>/in/closed && chmod 4755 /out/made"
        ),
        inputs=[
            {"path": "/in/program", "url": f"{case.shared_path}/program"},
            {"path": "/in/closed", "url": f"{case.shared_path}/closed"},
            {"path": "/in/dir", "url": f"{case.shared_path}/dir", "type": "DIRECTORY"},
        ],
        outputs=[{"path": "/out/made", "url": f"{case.shared_path}/made"}],
    )

    assert result.state is State.COMPLETE, result
    assert result.stdout == "runs\ntoo\n"
    assert (case.shared / "made").stat().st_mode & 0o111 == 0o111
    assert (case.shared / "made").stat().st_mode & 0o7000 == 0, "No privileges travel with a file."


def _write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
        (directory / name).chmod(0o666)
        (directory / name).parent.chmod(0o777)


def _read(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def _sizes(result: Result) -> dict[str, int]:
    return {each.path: each.size_bytes for each in result.outputs}


def _below(case: Case, place: str) -> list[str]:
    return sorted(name.removeprefix(f"{place}/") for name in case.delivered if name.startswith(f"{place}/"))
