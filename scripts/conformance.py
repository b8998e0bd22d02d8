"""Writes tests/reports: what the conformance suite finds of each backend of this tree, installed from wheels."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.clean import ROOT, Clean

REPORTS = ROOT / "tests" / "reports"


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        clean = Clean.make(Path(directory))
        for backend in ("batch", "local", "process"):
            found = clean.conform(backend)
            print(found.done.stdout)
            if found.done.returncode:
                return found.done.returncode
            (REPORTS / f"{backend}.json").write_text(json.dumps(found.report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
