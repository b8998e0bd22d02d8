"""The budgets that no linter checks: lines a function, lines a file, and no path of somebody's machine in the tree."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TREES = ("tesgw", "plugins", "scripts", "tests", "benchmarks", "examples", ".ci")
FUNCTION_LINES = 40
FILE_LINES = 400
SKIPPED = {"__pycache__", "static", "data"}  # the last two: files of others, kept as they are
TEXTS = {"", ".c", ".json", ".md", ".py", ".sh", ".toml", ".lua"}
MACHINE_PATH = re.compile(r"(?<![\w.}/-])/(?:home|Users|root)/[a-z]\w*")  # somebody's home directory


def problems(root: Path) -> Iterator[str]:
    """One line for each budget that a file below `root` exceeds."""
    for path in _files(root):
        if path.suffix == ".py" and "migrations" not in path.parts:
            yield from _python_problems(path, path.relative_to(root))
        if path.suffix in TEXTS:
            yield from _machine_paths(path, path.relative_to(root))


def _files(root: Path) -> Iterator[Path]:
    top = [path for path in root.iterdir() if path.is_file()]
    below = [path for tree in TREES for path in (root / tree).rglob("*") if path.is_file()]
    yield from sorted(path for path in top + below if not SKIPPED & set(path.relative_to(root).parts))


def _python_problems(path: Path, name: Path) -> Iterator[str]:
    text = path.read_text()
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{name}: {lines} lines, {FILE_LINES} are allowed"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines, {FUNCTION_LINES} are allowed"


def _machine_paths(path: Path, name: Path) -> Iterator[str]:
    try:
        text = path.read_text()
    except UnicodeDecodeError:  # a binary without a suffix: the launcher
        return
    for number, line in enumerate(text.splitlines(), 1):
        if found := MACHINE_PATH.search(line):
            yield f"{name}:{number}: {found.group()} is a path of one machine"


def main() -> int:
    found = list(problems(ROOT))
    print("\n".join(found) or "budgets kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
