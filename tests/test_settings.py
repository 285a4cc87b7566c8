"""Settings: which source wins, and what an operator reads when one is wrong."""

from pathlib import Path

import pytest

from engine.channels.sockets import ListenAddress
from engine.outbound.settings import CarrierKind, CarrierSettings
from engine.settings import (
    SETTINGS,
    LogFormat,
    Settings,
    SettingsError,
    load_settings,
    render_settings,
    service_links,
    with_carrier_secrets,
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


def test_the_feed_listens_nowhere_unless_told() -> None:
    """Empty text is nowhere, in every source."""
    given = load_settings(config=None, environ={}, flags={"feed_listen": "[::1]:0"})
    taken_back = load_settings(config=None, environ={"MASKLINE_FEED_LISTEN": "1.2.3.4:5"}, flags={"feed_listen": ""})

    assert Settings().feed_listen is None
    assert given.settings.feed_listen == ListenAddress("::1", 0)
    assert taken_back.settings.feed_listen is None


@pytest.mark.parametrize(("given", "missing"), [("certificate", "key"), ("key", "certificate")])
def test_certificate_and_key_of_the_feed_go_together(given: str, missing: str) -> None:
    """One without the other is told with its source."""
    with pytest.raises(SettingsError, match=f"'feed_tls_{given}' .flag.*feed_tls_{missing} is needed"):
        load_settings(config=None, environ={}, flags={f"feed_tls_{given}": "some.pem"})


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
        ("feed_listen", "9090", "expected host:port"),
        ("feed_window_frames", "0", ">= 1"),
        ("listen", "127.0.0.1:65536", "): the last port is 65535; got '127.0.0.1:65536'"),
        ("listen", "127.0.0.1:٨٠", "expected host:port"),
        ("retention_days", "0", ">= 1"),
        ("retention_days", "many", "a whole number"),
        ("synchronous", "OFF", "it must be one of FULL, NORMAL; got 'OFF'"),
        ("verify_signatures", "perhaps", "true or false"),
        ("data_dir", "", "length >= 1"),
        ("public_url", "masks.example.com", "matching"),
        ("public_url", "https://masks..example.com", "no name"),
        ("public_url", "https://masks.example.com:99999", "Port"),
        ("outgoing_allow", "10.0.0.0/8, 192.168.1.1/16", "host bits set"),
        ("webhook_timeout_seconds", "0", ">= 0.05"),
        ("carriers", "{}", "only stand in the file"),
        ("carrier_routes", "{}", "only stand in the file"),
    ],
)
def test_a_bad_value_names_the_key_and_its_source(key: str, value: str, complaint: str) -> None:
    """The operator reads which variable to correct and what it should hold."""
    name = f"MASKLINE_{key.upper()}"

    with pytest.raises(SettingsError) as caught:
        load_settings(config=None, environ={name: value}, flags={})

    assert f"'{key}' (variable {name})" in str(caught.value)
    assert complaint in str(caught.value)


def test_several_hosts_need_ray() -> None:
    """One process carries one host."""
    with pytest.raises(SettingsError, match=r"'hosts' \(flag --hosts\): more than one needs --runtime ray"):
        load_settings(config=None, environ={}, flags={"hosts": "2"})


def test_the_variable_that_a_node_reads_is_no_setting() -> None:
    """It may stand in the environment of every command."""
    loaded = load_settings(config=None, environ={"MASKLINE_NODE_DATA_DIR": "/srv"}, flags={})

    assert loaded.settings == Settings()


@pytest.mark.parametrize(("text", "address"), [("", None), ("[::]:9100", ListenAddress("::", 9100))])
def test_an_address_may_be_left_out(text: str, address: ListenAddress | None) -> None:
    """Empty text means that nothing listens."""
    loaded = load_settings(config=None, environ={"MASKLINE_OPERATIONS_LISTEN": text}, flags={})

    assert loaded.settings.operations_listen == address


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

    with pytest.raises(
        SettingsError, match=r"'retention_days' \(file .*\): it must be a whole number, not text; got '30'"
    ):
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

    assert all(f"\n{key} = " in printed for key, one in SETTINGS.items() if one.tables is None)
    assert all(one.meaning in printed for one in SETTINGS.values())
    assert "# From: variable MASKLINE_RETENTION_DAYS.\nretention_days = 7\n" in printed


@pytest.mark.parametrize(("text", "host", "port"), [("localhost:80", "localhost", 80), ("[::1]:0", "::1", 0)])
def test_a_listen_address_is_written_as_it_was_read(text: str, host: str, port: int) -> None:
    """Parsing and printing are inverse, brackets of IPv6 included."""
    address = ListenAddress.parse(text)

    assert address == (host, port)
    assert str(address) == text


CARRIERS = """
outgoing_allow = ["10.1.0.0/16", "fd00::/8"]

[carriers.main]
kind = "messages-api"
url = "https://api.example.com"
account_sid = "AC1"
auth_token = "hush"

[carriers.paper]
kind = "file"
path = "sent.ndjson"

[carrier_routes]
"+1415" = "main"
"12345" = "paper"
"*" = "twiml"
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "maskline.toml"
    file.write_text(text, "utf-8")
    return file


def test_carriers_and_their_routes_are_tables_of_the_file(tmp_path: Path) -> None:
    """One table a carrier, one for which number it sends from."""
    settings = load_settings(config=written(tmp_path, CARRIERS), environ={}, flags={}).settings

    assert settings.carriers == (
        CarrierSettings(
            name="main",
            kind=CarrierKind.MESSAGES_API,
            url="https://api.example.com",
            account_sid="AC1",
            auth_tokens=("hush",),
        ),
        CarrierSettings(name="paper", kind=CarrierKind.FILE, path="sent.ndjson"),
    )
    assert settings.carrier_routes == {"+1415": "main", "12345": "paper", "*": "twiml"}


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("RETENTION_DAYS", "x", "'retention_days' .* it must be a whole number, not text; got 'x'"),
        ("RETENTION_DAYS", "0", "'retention_days' .* it must be a whole number >= 1; got '0'"),
        ("INTERCEPT_TIMEOUT_SECONDS", "x", "'intercept_timeout_seconds' .* it must be a number, not text; got 'x'"),
        ("JOINS_US_AND_CANADA", "x", "'joins_us_and_canada' .* it must be true or false, not text; got 'x'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_words(variable: str, text: str, complaint: str) -> None:
    """Of the one who writes settings, not of the library that reads them."""
    with pytest.raises(SettingsError, match=complaint):
        load_settings(config=None, environ={f"MASKLINE_{variable}": text}, flags={})


def test_networks_come_as_a_list_or_separated_by_commas(tmp_path: Path) -> None:
    """A list in the file, text in a variable or flag."""
    listed = load_settings(config=written(tmp_path, CARRIERS), environ={}, flags={})
    flagged = load_settings(config=None, environ={}, flags={"outgoing_allow": "10.1.0.0/16,fd00::/8"})

    assert listed.settings.outgoing_allow == flagged.settings.outgoing_allow == ("10.1.0.0/16", "fd00::/8")


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('kind = "file"', 'kind = "fax"', r"carriers\.paper\.kind must be one of messages-api, file"),
        ('kind = "file"\n', "", r"carriers\.paper\.account_sid is missing"),
        ('url = "https://api.example.com"\n', "", r"names the carrier 'main', which has no url to send to"),
        ('auth_token = "hush"', 'signing_key = "hush"', r"carriers\.main\.auth_token is missing"),
        ('auth_token = "hush"', 'auth_token = ["hush", ""]', r"carriers\.main\.auth_token holds an empty text"),
        ('auth_token = "hush"', 'auth_token = "hush"\nauth_token_file = "x"', "auth_token and auth_token_file: one"),
        ('auth_token = "hush"', 'auth_token = "hush"\nnumbers = ["1415", "x"]', "numbers: 'x' is not the start"),
        ('auth_token = "hush"', 'auth_token = "hush"\nnumbers = [1415]', "must be text, not a whole number"),
        ('url = "https://api.example.com"', 'url = ["https://api.example.com"]', r"carriers\.main\.url must be a text"),
        ("[carriers.paper]", '[carriers.b]\naccount_sid="AC1"\nauth_token="y"\n[carriers.paper]', "same account_sid"),
        ('path = "sent', 'paht = "sent', r"carriers\.paper has unknown keys paht"),
        ('path = "sent.ndjson"', 'path = ""', r"carriers\.paper\.path is missing"),
        ('auth_token = "hush"', "", r"carriers\.main\.auth_token is missing"),
        ('"https://api', '"api', r"carriers\.main\.url must begin with https"),
        ('"https://api', '"https://api.', r"carriers\.main\.url cannot be called: the host is no name"),
        ("[carriers.paper]", "[carriers.twiml]", "'twiml' cannot be the name"),
        ('"+1415" =', '"+1415x" =', "is neither the start of a number"),
        ('= "main"', '= "mane"', "names the carrier 'mane'; there are main, paper, twiml"),
        ('"*" = "twiml"', '"*" = 1', "must be text, not a whole number"),
    ],
)
def test_a_carrier_that_cannot_work_is_refused_by_name(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """Which table, which key, and what it should hold; never the secret."""
    with pytest.raises(SettingsError, match=complaint) as caught:
        load_settings(config=written(tmp_path, CARRIERS.replace(before, after)), environ={}, flags={})

    assert "hush" not in str(caught.value)


ONLY_SENDS_IN = """
[carriers.main]
account_sid = "AC1"
numbers = ["+1415", "12345"]
"""


def test_a_carrier_that_only_sends_to_us_needs_an_account_and_a_token(tmp_path: Path) -> None:
    """Several tokens while the platform's is changed; a key of its own where webhooks are signed with another."""
    config = written(tmp_path, ONLY_SENDS_IN + 'auth_token = ["new", "old"]\nsigning_key = "PSK"\n')

    (carrier,) = load_settings(config=config, environ={}, flags={}).settings.carriers

    assert carrier == CarrierSettings(
        name="main",
        kind=CarrierKind.MESSAGES_API,
        account_sid="AC1",
        auth_tokens=("new", "old"),
        signing_keys=("PSK",),
        numbers=("+1415", "12345"),
    )
    assert (carrier.inbound_keys, carrier.is_sender) == (("PSK",), False)


def test_a_carrier_may_write_numbers_without_plus(tmp_path: Path) -> None:
    """A setting of its own, printed as it is read; nothing but true or false."""
    table = ONLY_SENDS_IN + 'auth_token_variable = "TOKENS"\n'
    loaded = load_settings(config=written(tmp_path, table + "writes_digits = true\n"), environ={}, flags={})

    assert loaded.settings.carriers[0].writes_digits
    printed = render_settings(loaded)
    assert load_settings(config=written(tmp_path, printed), environ={}, flags={}).settings == loaded.settings
    for wrong in ('writes_digits = "yes"', "numbers = true", "url = false"):
        with pytest.raises(SettingsError, match=r"carriers\.main\.(writes_digits|numbers|url) must be"):
            load_settings(
                config=written(tmp_path, f'[carriers.main]\naccount_sid = "AC1"\n{wrong}\n'), environ={}, flags={}
            )


@pytest.mark.parametrize("line", ['auth_token_file = "{file}"', 'auth_token_variable = "TOKENS"'])
def test_the_tokens_of_a_carrier_may_be_kept_in_a_file_or_a_variable(tmp_path: Path, line: str) -> None:
    """Read when the server starts, a line each; a command that only asks needs no right to read them."""
    file = tmp_path / "tokens"
    loaded = load_settings(config=written(tmp_path, ONLY_SENDS_IN + line.format(file=file)), environ={}, flags={})
    file.write_text("\ufeffnew\n\n  old \n", "utf-8")

    settings = with_carrier_secrets(loaded, {"TOKENS": "new\nold"})

    assert loaded.settings.carriers[0].auth_tokens == ()
    assert settings.carriers[0].inbound_keys == ("new", "old")
    printed = render_settings(loaded)
    assert load_settings(config=written(tmp_path, printed), environ={}, flags={}).settings == loaded.settings


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('auth_token_file = "/nowhere/token"', r"carriers\.main\.auth_token: cannot read /nowhere/token: No such file"),
        ('auth_token_variable = "TOKENS"', r"carriers\.main\.auth_token: the variable TOKENS holds nothing"),
        ('signing_key_variable = "TOKENS"', r"carriers\.main\.signing_key: the variable TOKENS holds nothing"),
    ],
)
def test_a_token_that_cannot_be_read_is_an_error_of_the_start(tmp_path: Path, line: str, complaint: str) -> None:
    """A server without it would refuse every webhook."""
    loaded = load_settings(config=written(tmp_path, ONLY_SENDS_IN + line), environ={}, flags={})

    with pytest.raises(SettingsError, match=complaint):
        with_carrier_secrets(loaded, {"TOKENS": " \n"})


def test_printed_carriers_hide_their_secrets(tmp_path: Path) -> None:
    """All else can be loaded again once the secret is filled in."""
    first = load_settings(config=written(tmp_path, CARRIERS), environ={}, flags={})

    printed = render_settings(first)

    assert "hush" not in printed
    with pytest.raises(SettingsError, match=r"carriers\.main\.auth_token is missing"):
        load_settings(config=written(tmp_path, printed), environ={}, flags={})
    filled = printed.replace("# auth_token is not shown", 'auth_token = "hush"', 1)
    assert load_settings(config=written(tmp_path, filled), environ={}, flags={}).settings == first.settings


SERVICE_LINKS = {
    "MASKLINE_SERVICE_HOST": "10.96.0.7",
    "MASKLINE_SERVICE_PORT": "8080",
    "MASKLINE_SERVICE_PORT_HTTP": "8080",
    "MASKLINE_PORT": "tcp://10.96.0.7:8080",
    "MASKLINE_PORT_8080_TCP": "tcp://10.96.0.7:8080",
    "MASKLINE_PORT_8080_TCP_PROTO": "tcp",
    "MASKLINE_PORT_8080_TCP_PORT": "8080",
    "MASKLINE_PORT_8080_TCP_ADDR": "10.96.0.7",
}
"""What Kubernetes sets for a Service called maskline."""


@pytest.mark.parametrize("called", ["MASKLINE", "MASKLINE_FEED", "MASKLINE_EU_1"])
def test_what_kubernetes_says_of_a_service_is_no_setting(called: str) -> None:
    """Whatever the Service is called, as long as its variables begin as ours do; they are told for the log."""
    environ = {name.replace("MASKLINE", called, 1): value for name, value in SERVICE_LINKS.items()}

    loaded = load_settings(config=None, environ={**environ, "MASKLINE_HOSTS": "1"}, flags={})

    assert loaded.settings == Settings()
    assert loaded.service_links == tuple(sorted(environ))


def test_no_setting_is_taken_for_a_service_link() -> None:
    """The names of settings never look like those of Kubernetes, whatever their value."""
    names = (f"MASKLINE_{key.upper()}" for key in SETTINGS)

    found = {name: service_links({name: value}) for name in names for value in ("tcp://10.0.0.1:1", "1", "tcp")}

    assert set(found.values()) == {()}


@pytest.mark.parametrize("name", ["MASKLINE_PORT", "MASKLINE_SERVICE_PRT", "MASKLINE_RETENTION"])
def test_a_variable_that_is_a_mistake_is_told(name: str) -> None:
    """A number in MASKLINE_PORT is an operator's, not a Service's."""
    with pytest.raises(SettingsError, match=f"unknown setting .*variable {name}"):
        load_settings(config=None, environ={name: "8080"}, flags={})


def test_a_settings_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As an editor on Windows leaves it."""
    file = tmp_path / "maskline.toml"
    file.write_bytes(b"\xef\xbb\xbfretention_days = 7\r\n")

    loaded = load_settings(config=file, environ={}, flags={})

    assert loaded.settings.retention_days == 7


def test_a_setting_stands_in_one_section() -> None:
    """So it has one default and one meaning, whichever part reads it."""
    sections = [vars(section).get("__annotations__", {}) for section in Settings.__mro__]

    assert {key: sum(key in one for one in sections) for key in SETTINGS} == dict.fromkeys(SETTINGS, 1)
