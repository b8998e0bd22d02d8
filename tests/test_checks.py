"""The project's own checks catch what they are for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tesgw_local import machine as engine

from scripts.check_budgets import ROOT, problems

NOBODY = "unix:///nonexistent/docker.sock"


def _tree(root: Path, name: str, text: str) -> list[str]:
    path = root / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return list(problems(root))


def test_this_tree_keeps_its_budgets() -> None:
    assert list(problems(ROOT)) == []


def test_function_of_41_lines_is_too_long(tmp_path: Path) -> None:
    long = "def f() -> None:\n" + "    pass\n" * 40
    fitting = "async def g() -> None:\n" + "    pass\n" * 39

    assert _tree(tmp_path, "tesgw/a.py", long + fitting) == ["tesgw/a.py:1: f has 41 lines, 40 are allowed"]


def test_file_of_401_lines_is_too_long(tmp_path: Path) -> None:
    assert _tree(tmp_path, "tests/b.py", "\n" * 401) == ["tests/b.py: 401 lines, 400 are allowed"]


def test_migrations_may_be_long(tmp_path: Path) -> None:
    assert _tree(tmp_path, "tesgw/store/migrations/0001.py", "\n" * 401) == []


def test_path_of_a_home_directory_is_found_in_any_text(tmp_path: Path) -> None:
    found = _tree(tmp_path, "examples/run.sh", "cd /tes-wd/home/x\ncd " + "/home/" + "ada/src\n")

    assert found == ["examples/run.sh:2: " + "/home/" + "ada is a path of one machine"]


def test_missing_docker_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(engine.NoEngine, match=r"apt-get install docker\.io"):
        engine.check()


def test_engine_of_somebody_else_is_never_installed_or_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOBODY)

    with pytest.raises(engine.NoEngine, match="DOCKER_HOST is unix:"):
        engine.ensure()


@pytest.mark.parametrize(("is_ci", "outcome"), [("true", "1 error"), ("", "1 skipped")])
def test_engine_tests_without_an_engine_are_skipped_but_fail_in_ci(is_ci: str, outcome: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::test_engine_answers"],
        env={**os.environ, "CI": is_ci, "DOCKER_HOST": NOBODY},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    assert outcome in done.stdout


@pytest.mark.engine
def test_engine_answers() -> None:
    engine.check()
