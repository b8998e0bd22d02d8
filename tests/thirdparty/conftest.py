"""The distribution as if it were installed: here, and for the processes it starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SOURCE = str(Path(__file__).parent / "src")
sys.path.insert(0, SOURCE)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SOURCE, os.environ.get("PYTHONPATH"))))
