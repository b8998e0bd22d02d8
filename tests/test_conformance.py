"""The conformance suite as third parties run it: installed from wheels, in an empty directory, with one command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.clean import Clean
from tests.e2e.client import Gateway

REPORTS = Path(__file__).parent / "reports"
AS_REPORTED = "The reports in tests/reports are not what the suite finds: run `make conformance`."


@pytest.mark.engine
def test_the_local_backend_passes_without_gaps(clean: Clean) -> None:
    found = clean.conform("local")

    assert found.done.returncode == 0, found.done.stdout
    assert found.tests("failed") | found.tests("gap") == set()
    assert found.report["groups"] == json.loads((REPORTS / "local.json").read_text())["groups"], AS_REPORTED


@pytest.mark.engine
def test_the_batch_backend_passes_without_gaps_against_the_double(clean: Clean) -> None:
    found = clean.conform("batch")

    assert found.done.returncode == 0, found.done.stdout
    assert found.tests("failed") | found.tests("gap") | found.tests("skipped") == set()
    assert found.report["groups"] == json.loads((REPORTS / "batch.json").read_text())["groups"], AS_REPORTED


def test_a_third_party_backend_passes_but_for_its_named_gaps(clean: Clean) -> None:
    found = clean.conform("process")

    assert found.done.returncode == 0, found.done.stdout
    assert found.tests("failed") == set()
    assert found.report["groups"] == json.loads((REPORTS / "process.json").read_text())["groups"], AS_REPORTED


def test_a_gateway_runs_tasks_on_the_third_party_backend_that_its_setting_names(
    clean: Clean, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    images = clean.run(
        "-c", "import asyncio; from tesgw_process.harness import *; asyncio.run(ProcessHarness().start()); print(CACHE)"
    )
    settings = {"COMPUTE_BACKEND": "process", "PROCESS_IMAGES_DIR": f"{images.stdout.strip()}/images"}
    gateway = Gateway(tmp_path, settings, (str(clean.python.with_name("tesgw")), "serve", "--port", "0"))
    gateway.start()

    task = gateway.wait(gateway.submit("cat /proc/self/status | grep NSpid; exit 3"))
    gateway.stop()

    assert task["state"] == "EXECUTOR_ERROR", task
    assert task["logs"][0]["logs"][0]["exit_code"] == 3
    assert task["logs"][0]["logs"][0]["stdout"].startswith("NSpid:")


def test_the_plugin_costs_other_runs_of_pytest_next_to_nothing(clean: Clean) -> None:
    heavy = {"aiohttp", "pytest_asyncio", "sqlalchemy", "msgspec", "marshmallow", "tesgw.app"}
    done = clean.run("-c", "import sys, tesgw.conformance.plugin; print(*sys.modules)")

    assert done.returncode == 0, done.stderr
    assert heavy & set(done.stdout.split()) == set()


def test_without_a_backend_it_says_which_option_is_missing(clean: Clean) -> None:
    done = clean.run("-m", "pytest", "--pyargs", "tesgw.conformance", "-q", "-p", "no:cacheprovider")

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--tes-backend" in done.stderr


def test_an_unknown_backend_is_told_from_those_there_are(clean: Clean) -> None:
    done = clean.conform("slurm").done

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "'slurm'" in done.stderr
    assert "batch, local, process" in done.stderr


HARNESSES = """
from tesgw_process.harness import ProcessHarness

class Healed(ProcessHarness):
    gaps = {"test_executors.py::test_executors_run_in_order_and_one_at_a_time[hooks]": "It did not, once."}

class Broken(Healed):
    async def start(self):
        raise RuntimeError("no image today")

class Misspelt(ProcessHarness):
    gaps = {"test_executors.py::test_no_such_rule": "?"}
"""


def _harnesses(directory: Path) -> dict[str, str]:
    """An environment in which two more harnesses are installed."""
    (directory / "more_harnesses.py").write_text(HARNESSES)
    points = "".join(f"{name.lower()} = more_harnesses:{name}\n" for name in ("Healed", "Misspelt", "Broken"))
    return install(directory, "more-harnesses", f"[tesgw.harnesses]\n{points}")


def install(directory: Path, name: str, entry_points: str) -> dict[str, str]:
    """Make a distribution of the modules in a directory; the environment that has it."""
    metadata = directory / f"{name.replace('-', '_')}-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    return {"PYTHONPATH": str(directory)}


def test_a_gap_that_has_healed_fails_until_it_is_removed(clean: Clean, tmp_path: Path) -> None:
    only = ("-k", "test_executors_run_in_order_and_one_at_a_time")
    found = clean.conform("process", "--tes-harness", "healed", *only, env=_harnesses(tmp_path))

    assert found.done.returncode == pytest.ExitCode.TESTS_FAILED
    [outcomes] = found.report["groups"]["executors"].values()
    assert outcomes == {"hooks": "failed", "http": "passed"}


def test_a_gap_that_is_no_test_is_refused(clean: Clean, tmp_path: Path) -> None:
    done = clean.conform("process", "--tes-harness", "misspelt", env=_harnesses(tmp_path)).done

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_no_such_rule" in done.stderr


def test_a_world_that_does_not_start_is_no_known_gap_and_said_once(clean: Clean, tmp_path: Path) -> None:
    done = clean.conform("process", "--tes-harness", "broken", env=_harnesses(tmp_path)).done

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stdout.count("no image today") == 1, done.stdout


def test_a_rule_for_every_backend_cannot_be_skipped(clean: Clean, tmp_path: Path) -> None:
    (tmp_path / "never_today.py").write_text(
        "import pytest\n"
        "def pytest_runtest_setup(item):\n"
        "    if item.name.startswith('test_executors_run_in_order_and_one_at_a_time'):\n"
        "        pytest.skip('not today')\n"
    )
    only = ("-k", "test_executors_run_in_order_and_one_at_a_time", "-p", "never_today")
    found = clean.conform("process", *only, env={"PYTHONPATH": str(tmp_path)})

    assert found.done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "cannot be skipped" in found.done.stdout
    assert sys.executable != str(clean.python)
