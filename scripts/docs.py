"""Writes the generated parts of README.md, and settings.toml: `python -m scripts.docs`; with `--check` only compares."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from tesgw import errors
from tesgw.backends import GROUP
from tesgw.capabilities import Capability
from tesgw.hookspecs import HOOKS, BackendSpec
from tesgw.model import Setting
from tesgw.settings import SETTINGS

ROOT = Path(__file__).parent.parent


def main(arguments: Sequence[str]) -> int:
    changed = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        names = ", ".join(path.name for path in changed)
        print(f"not as generated: {names}; run `make docs`" if changed else "documents as generated")
        return int(bool(changed))
    for path in changed:
        path.write_text(generated()[path])
        print(f"wrote {path.name}")
    return 0


def generated() -> dict[Path, str]:
    """What the files with generated parts have to hold."""
    readme = ROOT / "README.md"
    return {readme: fill(readme.read_text(), TABLES), ROOT / "settings.toml": settings_file()}


def fill(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Replace what stands between `<!-- generated: NAME -->` and the next `<!-- end -->` by that table."""
    return re.sub(
        r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)",
        lambda block: f"{block[1]}\n{tables[block[2]]()}\n{block[3]}",
        text,
        flags=re.DOTALL,
    )


def settings_table() -> str:
    return _table(
        ("Setting", "Default", "Why change it"), ((f"`{each.name}`", _default(each), each.why) for each in declared())
    )


def hooks_table() -> str:
    return _table(("Hook", "Promise"), ((f"`{_signature(name)}`", _sentence(getattr(BackendSpec, name))) for name in HOOKS))


def errors_table() -> str:
    """The errors that a backend's author meets."""
    kinds = (errors.BackendUnavailable, errors.BackendRefused, errors.StageError)
    return _table(("Raise", "When, and what follows"), ((f"`{kind.__name__}`", _sentence(kind)) for kind in kinds))


def py_tes_example() -> str:
    """The file that a test runs, without its docstring."""
    code = (ROOT / "examples" / "first_task.py").read_text().split('"""\n', 1)[1]
    return f"```python\n{code.strip()}\n```\n"


def capabilities_table() -> str:
    """What a backend may claim."""
    return _table(("Capability", "A backend that claims it"), ((f"`{each.name}`", each.value) for each in Capability))


def conformance_table() -> str:
    """What the last reports of the suite say of each backend, by group: `make conformance` writes them."""
    reports = [json.loads(file.read_text()) for file in sorted((ROOT / "tests" / "reports").glob("*.json"))]
    groups = sorted({group for report in reports for group in report["groups"]})
    head = ("Group", *(f"`{report['backend']}`" for report in reports))
    return _table(head, ((group, *(_found(report, group) for report in reports)) for group in groups))


def _found(report: Mapping[str, Any], group: str) -> str:
    outcomes = Counter(each for tests in report["groups"].get(group, {}).values() for each in tests.values())
    words = {"passed": "passed", "gap": "known gaps", "skipped": "not claimed", "failed": "FAILED"}
    return ", ".join(f"{outcomes[outcome]} {word}" for outcome, word in words.items() if outcomes[outcome])


TABLES = {
    "py_tes": py_tes_example,
    "settings": settings_table,
    "hooks": hooks_table,
    "errors": errors_table,
    "capabilities": capabilities_table,
    "conformance": conformance_table,
}


def settings_file() -> str:
    """`settings.toml` with every setting commented out."""
    head = "# Every setting with its default. Environment variables APP_NAME override it. Made by `make docs`.\n"
    return head + "".join(f"\n{_commented(each.why)}\n# {each.name} = {_toml(each.default)}\n" for each in declared())


def declared() -> Iterator[Setting]:
    """The settings of the core and of the backends that come with it."""
    yield from SETTINGS
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, value in project["entry-points"][GROUP].items():
        yield from EntryPoint(name, value, GROUP).load().settings


def _default(setting: Setting) -> str:
    return f"`{_toml(setting.default)}`" if setting.default not in (None, "", ()) else "–"


def _toml(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value or ""}"'


def _commented(text: str) -> str:
    return textwrap.fill(text.replace("`", ""), 110, initial_indent="# ", subsequent_indent="# ")


def _signature(name: str) -> str:
    names = [each for each in inspect.signature(getattr(BackendSpec, name)).parameters if each not in ("self", "ctx")]
    return f"{name}({', '.join(names)})"


def _sentence(documented: object) -> str:
    """The docstring's first paragraph on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
