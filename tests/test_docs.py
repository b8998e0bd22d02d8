"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import docs
from tesgw.settings import load


def test_generated_documents_are_current() -> None:
    for path, text in docs.generated().items():
        assert path.read_text() == text, f"{path.name}: run `make docs`"


def test_only_marked_parts_are_generated() -> None:
    text = "mine\n<!-- generated: fruit -->\nold\n<!-- end -->\nmine too\n"

    filled = docs.fill(text, {"fruit": lambda: "apple\n"})

    assert filled == "mine\n<!-- generated: fruit -->\n\napple\n\n<!-- end -->\nmine too\n"
    assert docs.fill(filled, {"fruit": lambda: "apple\n"}) == filled


def test_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        docs.fill("<!-- generated: nothing -->\n<!-- end -->", {})


def test_settings_file_with_every_line_uncommented_sets_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(re.sub(r"^# ([A-Z_]+ = )", r"\1", docs.settings_file(), flags=re.MULTILINE))
    declared = list(docs.declared())

    values = load(declared, file=file)

    assert dict(values) == {setting.name: setting.default for setting in declared}
    assert set(values.sources.values()) == {str(file)}


def test_files_that_the_readme_links_exist() -> None:
    links = re.findall(r"\]\(((?!http)[^)]+)\)", (docs.ROOT / "README.md").read_text())

    assert links
    assert [link for link in links if not (docs.ROOT / link).exists()] == []
