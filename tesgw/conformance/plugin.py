"""The pytest plugin: options, known gaps, what a skip means, and the report. Light, for every run of pytest loads it."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Generator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

SUITE = Path(__file__).parent
_PASSES = ("hooks", "http")
_reports: pytest.StashKey[dict[str, dict[str, str]]] = pytest.StashKey()
_left_out: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tesgw", "conformance of tesgw backends: pytest --pyargs tesgw.conformance --tes-backend NAME")
    group.addoption("--tes-backend", metavar="NAME", help="the installed backend to test")
    group.addoption("--tes-harness", metavar="NAME", help="the harness of its test world; by default that of the same name")
    group.addoption("--tes-report", metavar="FILE", type=Path, help="write what was found to this file, as JSON")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "tes_rule(needs, alone, only): a rule of the conformance suite")
    config.stash[_reports] = {}
    config.stash[_left_out] = []
    if config.getoption("--tes-backend"):
        _check_run(config)
        # aiohttp-apispec keeps its state under plain string keys.
        config.addinivalue_line("filterwarnings", "ignore::aiohttp.web.NotAppKeyWarning")
        # The suite says for each test which loop it runs on, and runs where no ini file sets a default.
        warnings.filterwarnings("ignore", "(?s).*asyncio_default_fixture_loop_scope")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what has no meaning in a pass, put what wants to be alone at its pass's end, and mark the known gaps."""
    rules = [item for item in items if _is_rule(item)]
    if not rules:
        return
    senseless = [item for item in rules if _mark(item)["only"] not in (None, pass_of(item))]
    config.hook.pytest_deselected(items=senseless)
    config.stash[_left_out].clear()
    rules = [item for item in rules if item not in senseless]
    rules.sort(key=lambda item: (pass_of(item), _mark(item)["alone"]))
    _mark_gaps(config, rules)
    items[:] = [item for item in items if not _is_rule(item)] + rules


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _is_rule(item):
        if report.when != "call" and hasattr(report, "wasxfail"):  # a world that is broken is no known gap
            del report.wasxfail
            report.outcome = "failed"
        if report.skipped and not hasattr(report, "wasxfail") and _mark(item)["needs"] is None:
            report.outcome = "failed"
            report.longrepr = f"Every backend has to pass this test, so it cannot be skipped: {report.longrepr}"
        if report.when == "call" or report.outcome != "passed":
            item.config.stash[_reports].setdefault(_name(item), {})[pass_of(item)] = _outcome(report)
    return report


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_rule(item):
            item.config.stash[_left_out].append(item.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    file = session.config.getoption("--tes-report", None)
    if file and not session.config.getoption("collectonly"):
        whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not session.config.stash[_left_out]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**_summary(session.config), "is_whole": whole}, indent=1) + "\n")


def pass_of(item: pytest.Item) -> str:
    """`hooks` or `http`: through what the rule is tried."""
    return str(item.callspec.params["world"])  # type: ignore[attr-defined]  # a function with parameters has it


def _check_run(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("asyncio"):
        raise pytest.UsageError("The suite needs pytest-asyncio: pip install 'tesgw[conformance]', and no -p no:asyncio.")
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("The suite runs its tests side by side by itself, in one process: leave -n out.")


def _is_rule(item: pytest.Item) -> bool:
    return item.get_closest_marker("tes_rule") is not None


def _mark(item: pytest.Item) -> Mapping[str, Any]:
    mark = item.get_closest_marker("tes_rule")
    assert mark
    return mark.kwargs


def _name(item: pytest.Item) -> str:
    return f"{item.path.name}::{getattr(item, 'originalname', item.name)}"


def _mark_gaps(config: pytest.Config, rules: list[pytest.Item]) -> None:
    from tesgw.conformance import harness

    name = config.getoption("--tes-harness") or config.getoption("--tes-backend")
    if not name:
        raise pytest.UsageError("Say which backend to test: --tes-backend NAME (`tesgw backends` lists them).")
    try:
        gaps = harness.load(name).gaps
    except LookupError as error:
        raise pytest.UsageError(str(error)) from error
    _refuse_unknown(gaps)
    for item in rules:
        reason = gaps.get(_name(item)) or gaps.get(f"{_name(item)}[{pass_of(item)}]")
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def _refuse_unknown(gaps: Mapping[str, str]) -> None:
    for gap in gaps:
        file, _, test = gap.partition("::")
        name, bracket, of_pass = test.partition("[")
        source = SUITE / file
        rules = re.findall(r"^@rule\(.*\)\nasync def (\w+)\(", source.read_text() if source.is_file() else "", re.MULTILINE)
        if name not in rules or bracket + of_pass not in ("", *(f"[{each}]" for each in _PASSES)):
            raise pytest.UsageError(f"The harness names a gap {gap!r}, but the suite has no such test.")


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "gap" if report.skipped else "failed"
    return str(report.outcome)


def _summary(config: pytest.Config) -> dict[str, Any]:
    groups: dict[str, Any] = {}
    for name, outcomes in sorted(config.stash[_reports].items()):
        file, _, test = name.partition("::")
        groups.setdefault(file.removeprefix("test_").removesuffix(".py"), {})[test] = outcomes
    counted = Counter(outcome for tests in groups.values() for outcomes in tests.values() for outcome in outcomes.values())
    return {
        "backend": config.getoption("--tes-backend"),
        "tesgw": version("tesgw"),
        "passes": _PASSES,
        "counts": dict(sorted(counted.items())),
        "groups": groups,
    }
