"""Settings: which source wins, and what an operator reads when one is wrong."""

from pathlib import Path

import pytest

from engine.settings import (
    ListenAddress,
    LogFormat,
    Settings,
    SettingsError,
    load_settings,
    render_settings,
)


def test_without_any_source_the_defaults_hold() -> None:
    """An empty environment gives the documented defaults, and says so."""
    loaded = load_settings(config=None, environ={"PATH": "/bin"}, flags={})

    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_a_flag_beats_a_variable_beats_the_file(tmp_path: Path) -> None:
    """Each source overrides the weaker ones, key by key."""
    file = tmp_path / "maskline.toml"
    file.write_text("retention_days = 1\nrate_limit_per_second = 1\nmax_api_body_bytes = 1\n")
    environ = {"MASKLINE_RETENTION_DAYS": "2", "MASKLINE_RATE_LIMIT_PER_SECOND": "2"}

    loaded = load_settings(config=file, environ=environ, flags={"retention_days": 3, "data_dir": None})

    assert loaded.settings.retention_days == 3
    assert loaded.settings.rate_limit_per_second == 2
    assert loaded.settings.max_api_body_bytes == 1
    assert loaded.origins["retention_days"] == "flag --retention-days"
    assert loaded.origins["rate_limit_per_second"] == "variable MASKLINE_RATE_LIMIT_PER_SECOND"
    assert loaded.origins["max_api_body_bytes"] == f"file {file}"
    assert loaded.origins["data_dir"] == "default"


def test_a_variable_names_the_file_when_no_flag_does(tmp_path: Path) -> None:
    """MASKLINE_CONFIG stands in for --config."""
    file = tmp_path / "maskline.toml"
    file.write_text('log_format = "json"\n')

    loaded = load_settings(config=None, environ={"MASKLINE_CONFIG": str(file)}, flags={})

    assert loaded.settings.log_format is LogFormat.JSON


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("listen", "8080", "expected host:port"),
        ("listen", "127.0.0.1:65536", "expected host:port"),
        ("retention_days", "0", ">= 1"),
        ("retention_days", "many", "`int`"),
        ("synchronous", "OFF", "enum"),
        ("verify_signatures", "perhaps", "`bool`"),
        ("data_dir", "", "length >= 1"),
        ("public_url", "masks.example.com", "matching"),
    ],
)
def test_a_bad_value_names_the_key_and_its_source(key: str, value: str, complaint: str) -> None:
    """The operator reads which variable to correct and what it should hold."""
    name = f"MASKLINE_{key.upper()}"

    with pytest.raises(SettingsError) as caught:
        load_settings(config=None, environ={name: value}, flags={})

    assert f"'{key}' (variable {name})" in str(caught.value)
    assert complaint in str(caught.value)


def test_an_unknown_variable_is_refused_by_name() -> None:
    """A misspelt variable never passes unnoticed."""
    with pytest.raises(SettingsError, match=r"unknown setting 'retention' \(variable MASKLINE_RETENTION\)"):
        load_settings(config=None, environ={"MASKLINE_RETENTION": "1"}, flags={})


def test_an_unknown_key_of_the_file_is_refused_by_name(tmp_path: Path) -> None:
    """A table or a misspelt key in the file never passes unnoticed."""
    file = tmp_path / "maskline.toml"
    file.write_text("[server]\nport = 1\n")

    with pytest.raises(SettingsError, match=r"unknown setting 'server' \(file "):
        load_settings(config=file, environ={}, flags={})


def test_the_file_does_not_take_text_for_numbers(tmp_path: Path) -> None:
    """TOML has types; a quoted number is a mistake there."""
    file = tmp_path / "maskline.toml"
    file.write_text('retention_days = "30"\n')

    with pytest.raises(SettingsError, match="Expected `int`, got `str`"):
        load_settings(config=file, environ={}, flags={})


@pytest.mark.parametrize("content", [None, "retention_days = ", b"\xff"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | bytes | None) -> None:
    """Missing, broken and undecodable files all say which file it was."""
    file = tmp_path / "maskline.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(SettingsError, match=r"maskline\.toml"):
        load_settings(config=file, environ={}, flags={})


def test_printed_settings_can_be_loaded_again(tmp_path: Path) -> None:
    """What --print-settings writes is a settings file with the same meaning."""
    first = load_settings(config=None, environ={"MASKLINE_LISTEN": "[::1]:0"}, flags={"data_dir": 'a"b/ä'})
    file = tmp_path / "maskline.toml"
    file.write_text(render_settings(first), "utf-8")

    again = load_settings(config=file, environ={}, flags={})

    assert again.settings == first.settings


def test_printed_settings_explain_every_key() -> None:
    """Each key stands under its meaning and its origin."""
    loaded = load_settings(config=None, environ={"MASKLINE_RETENTION_DAYS": "7"}, flags={})

    printed = render_settings(loaded)

    assert all(f"\n{key} = " in printed for key in Settings.__struct_fields__)
    assert "# From: variable MASKLINE_RETENTION_DAYS.\nretention_days = 7\n" in printed


@pytest.mark.parametrize(("text", "host", "port"), [("localhost:80", "localhost", 80), ("[::1]:0", "::1", 0)])
def test_a_listen_address_is_written_as_it_was_read(text: str, host: str, port: int) -> None:
    """Parsing and printing are inverse, brackets of IPv6 included."""
    address = ListenAddress.parse(text)

    assert address == (host, port)
    assert str(address) == text
