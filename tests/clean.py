"""A virtual environment with the built wheels alone, as a third party has it: nothing of this tree is on its path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
THIRD_PARTY = ROOT / "tests" / "thirdparty"
SUITE = ("--pyargs", "tesgw.conformance", "-q", "-p", "no:cacheprovider")
# What would tell of this tree, or of the pytest that runs this.
_OURS = ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "COVERAGE_PROCESS_START")


@dataclass(frozen=True)
class Clean:
    """`directory` is empty but for what a run puts there."""

    python: Path
    directory: Path

    @classmethod
    def make(cls, directory: Path) -> Clean:
        """Build both distributions and install them with what they need."""
        wheels = directory / "wheels"
        for source in (ROOT, THIRD_PARTY):
            _uv("build", "--wheel", "--out-dir", str(wheels), str(source))
        python = directory / "venv" / "bin" / "python"
        _uv("venv", "--python", sys.executable, str(directory / "venv"))
        [tesgw] = wheels.glob("tesgw-*.whl")
        [process] = wheels.glob("tesgw_process-*.whl")
        _uv("pip", "install", "--python", str(python), f"{tesgw}[batch,conformance]", str(process))
        (directory / "empty").mkdir()
        return cls(python, directory / "empty")

    def conform(self, backend: str, *arguments: str, env: Mapping[str, str] | None = None) -> Conformance:
        """Run the suite against a backend."""
        report = self.directory.parent / f"{backend}-{time.monotonic_ns()}.json"
        options = ("--tes-backend", backend, "--tes-report", str(report), *arguments)
        done = self.run("-m", "pytest", *SUITE, *options, env=env)
        return Conformance(done, json.loads(report.read_text()) if report.exists() else {})

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run this environment's Python in the empty directory."""
        environment = {name: value for name, value in os.environ.items() if name not in _OURS} | dict(env or {})
        command = [str(self.python), *arguments]
        return subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=900)


@dataclass(frozen=True)
class Conformance:
    """How a run of the suite ended, and what it reported."""

    done: subprocess.CompletedProcess[str]
    report: Mapping[str, Any]

    def tests(self, outcome: str) -> set[str]:
        """The tests that had this outcome in at least one pass: `group.test`."""
        return {
            f"{group}.{test}"
            for group, tests in self.report["groups"].items()
            for test, outcomes in tests.items()
            if outcome in outcomes.values()
        }


def _uv(*arguments: str) -> None:
    command: Sequence[str] = (sys.executable, "-m", "uv", "--quiet", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
