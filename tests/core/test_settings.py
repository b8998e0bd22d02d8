from __future__ import annotations

from pathlib import Path

import pytest

from tesgw import settings
from tesgw.errors import SettingsError
from tesgw.model import Setting

DECLARED = (
    *settings.SETTINGS,
    Setting(name="LOCAL_MAX_TASKS", type=int, default=0, why=""),
    Setting(name="LOCAL_CPU_CORES", type=float, default=0.0, why=""),
    Setting(name="LOCAL_FILE_ROOTS", type=tuple, default=(), why=""),
)


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str = "") -> settings.Settings:
    Path("settings.toml").write_text(text)
    return settings.load(DECLARED)


def test_without_a_file_every_setting_has_its_default() -> None:
    values = settings.load(DECLARED)

    assert values["COMPUTE_BACKEND"] == "local"
    assert values.sources["COMPUTE_BACKEND"] == "default"
    assert len(values) == len(DECLARED)


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_SITE_NAME", "from env")

    values = load('SITE_NAME = "from file"\nORGANIZATION_NAME = "lab"\n')

    assert values["SITE_NAME"] == "from env"
    assert values.sources["SITE_NAME"] == "environment variable APP_SITE_NAME"
    assert values["ORGANIZATION_NAME"] == "lab"


@pytest.mark.parametrize("secret", ["1e5", "123", "true", '"quoted"', "[1]", "a#b"])
def test_a_string_from_the_environment_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("APP_PRIVATE_DOCKER_REGISTRY_PASSWORD", secret)

    assert load()["PRIVATE_DOCKER_REGISTRY_PASSWORD"] == secret


@pytest.mark.parametrize("text", ["/a,/b c", '["/a", "/b c"]', " /a , /b c "])
def test_a_list_is_comma_separated_or_toml(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("APP_LOCAL_FILE_ROOTS", text)

    assert load()["LOCAL_FILE_ROOTS"] == ("/a", "/b c")


def test_numbers_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_LOCAL_MAX_TASKS", "3")
    monkeypatch.setenv("APP_LOCAL_CPU_CORES", "1.5")

    assert (load()["LOCAL_MAX_TASKS"], load()["LOCAL_CPU_CORES"]) == (3, 1.5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('SIET_NAME = "x"', "SIET_NAME from .*settings.toml is not a setting. Did you mean SITE_NAME?"),
        ('ZEBRA = "x"', "ZEBRA from .*settings.toml is not a setting"),
        ('LOCAL_MAX_TASKS = "many"', "LOCAL_MAX_TASKS from .*settings.toml: 'many' is not a number"),
        ("LOCAL_MAX_TASKS = 1.5", "LOCAL_MAX_TASKS from .*: 1.5 is not a whole number"),
        ('MISSING_OUTPUTS = "maybe"', "MISSING_OUTPUTS from .*: 'maybe' is none of"),
        ("SITE_NAME = ", "settings.toml cannot be read"),
    ],
)
def test_a_wrong_value_is_named_with_its_source(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load(text)


def test_a_backend_s_misspelt_setting_is_an_error_once_that_backend_is_the_one_in_use() -> None:
    Path("settings.toml").write_text('LOCAL_NETWROK = "none"\nLOCAL_MAX_TASKS = 3\n')

    assert settings.load(DECLARED, backend="batch")["LOCAL_MAX_TASKS"] == 3
    with pytest.raises(SettingsError, match=r"LOCAL_NETWROK from .*settings.toml is not a setting"):
        settings.load(DECLARED, backend="local")


def test_a_number_that_is_too_small_is_refused() -> None:
    declared = (Setting(name="LOCAL_MAX_TASKS", type=int, default=0, least=0, why=""),)
    Path("settings.toml").write_text("LOCAL_MAX_TASKS = -1\n")

    with pytest.raises(SettingsError, match="-1 is less than 0"):
        settings.load(declared)


def test_a_settings_file_that_is_named_has_to_exist() -> None:
    with pytest.raises(SettingsError, match=r"elsewhere.toml does not exist"):
        settings.load(DECLARED, file=Path("elsewhere.toml"))


def test_a_misspelt_variable_is_an_error_but_a_stranger_s_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_RELEASE_SHA", "abc")
    assert "RELEASE_SHA" not in load()

    monkeypatch.setenv("APP_COMPUTE_BACKENDS", "local")
    with pytest.raises(SettingsError, match="Did you mean COMPUTE_BACKEND"):
        load()


def test_the_default_database_lies_in_the_work_directory(tmp_path: Path) -> None:
    values = settings.of_values(DECLARED, {"LOCAL_WORK_DIR": tmp_path})

    assert values.database_uri == f"sqlite+aiosqlite:///{tmp_path}/tesgw.db"


def test_a_value_in_code_for_no_setting_is_an_error() -> None:
    with pytest.raises(SettingsError, match="NO_SUCH"):
        settings.of_values(DECLARED, {"NO_SUCH": 1})
