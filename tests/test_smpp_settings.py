"""The tables of SMPP peers: every field is checked at the start, by name, and no password is ever shown."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.channel_table import CHANNELS, channels_of
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.session import Role
from engine.settings import LoadedSettings, SettingsError, load_settings, render_settings, with_carrier_secrets

PEERS = """
smpp_listen = "127.0.0.1:0"

[smpp_peers.carrier]
role = "esme"
host = "smsc.example.com"
system_id = "masks"
password = "hush"
national = "GB"

[smpp_peers.hub]
role = "smsc"
system_id = "hub"
password_file = "FILE"
networks = ["10.0.0.0/8"]

[carrier_routes]
"*" = "carrier"
"""


def load(tmp_path: Path, text: str) -> LoadedSettings:
    file = tmp_path / "maskline.toml"
    file.write_text(text.replace("FILE", str(tmp_path / "password")), "utf-8")
    return load_settings(config=file, environ={}, flags={})


def test_each_peer_has_a_table(tmp_path: Path) -> None:
    """Of either role; ports are the protocol's own where they are left out."""
    carrier, hub = load(tmp_path, PEERS).settings.smpp_peers

    assert carrier == SmppPeer(
        name="carrier", role=Role.ESME, host="smsc.example.com", system_id="masks", password="hush", national="GB"
    )
    assert (carrier.at_port, hub.role, hub.networks) == (2775, Role.SMSC, ("10.0.0.0/8",))


def test_peers_send_by_their_names(tmp_path: Path) -> None:
    """As carriers do; those that bind to us share one listener, which in a cluster is one host's."""
    channels = channels_of(load(tmp_path, PEERS).settings, CHANNELS)
    with ExitStack() as stack:
        channels.bind(stack, is_ours=lambda name: name == "smpp")

        assert set(channels.senders) == {"hub"}
        assert channels.senders_elsewhere == {"carrier": "carrier"}
        assert [(peer.protocol, peer.name, peer.problem) for peer in channels.peer_states] == [
            ("smpp", "carrier", "its connections are on another host")
        ]


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('role = "esme"', 'role = "both"', r"smpp_peers\.carrier\.role cannot be 'both'"),
        ('role = "esme"\n', "", r"smpp_peers\.carrier\.role is missing"),
        ('host = "smsc.example.com"\n', "", r"smpp_peers\.carrier\.host is missing"),
        ('"masks"', '"masks"\nport = 65536', r"smpp_peers\.carrier\.port must be a whole number <= 65535"),
        ('"masks"', '""', r"smpp_peers\.carrier\.system_id must be text of length >= 1"),
        ('"masks"', '"mäsks"', r"smpp_peers\.carrier\.system_id must be text matching"),
        ('password = "hush"\n', "", r"smpp_peers\.carrier\.password is missing"),
        ('password = "hush"', f'password = "hush{"x" * 64}"', r"smpp_peers\.carrier\.password has more than 64"),
        ('password = "hush"', 'password = "hush"\npassword_file = "x"', "password and password_file: one of them"),
        ('"masks"', '"masks"\nbind = "receiver"', r"smpp_peers\.carrier\.bind cannot be"),
        ('"masks"', '"masks"\nconnections = 0', r"smpp_peers\.carrier\.connections must be a whole number >= 1"),
        ('"masks"', '"masks"\nwindow = "ten"', r"smpp_peers\.carrier\.window must be a whole number, not text"),
        ('"masks"', '"masks"\nmessages_per_second = -1', r"carrier\.messages_per_second must be a number >= 0"),
        ('"masks"', '"masks"\ndefault_alphabet = "ebcdic"', r"carrier\.default_alphabet cannot be"),
        ('national = "GB"', 'national = "Britain"', r"carrier\.national: 'Britain' is no ISO country"),
        ('"masks"', '"masks"\nlong_messages = "split"', r"carrier\.long_messages cannot be"),
        ('"masks"', '"masks"\nresend_unknown = "always"', r"carrier\.resend_unknown cannot be"),
        ('"masks"', '"masks"\nia5_alphabet = "x"', r"carrier\.ia5_alphabet cannot be"),
        ('"masks"', '"masks"\nucs2_under_0 = 1', r"carrier\.ucs2_under_0 must be true or false"),
        ('"masks"', '"masks"\nucs2_little_endian = 1', r"carrier\.ucs2_little_endian must be true or false"),
        ('"masks"', '"masks"\ntransliterate = 1', r"carrier\.transliterate must be true or false"),
        ('"masks"', '"masks"\nprefer_latin1 = 1', r"carrier\.prefer_latin1 must be true or false"),
        ('"masks"', '"masks"\nmessage_class = 1', r"carrier\.message_class must be true or false"),
        ('"masks"', '"masks"\nwith_plus = 1', r"carrier\.with_plus must be true or false"),
        ('"masks"', '"masks"\nshort_code_ton = 7', r"carrier\.short_code_ton must be a whole number <= 6"),
        ('"masks"', '"masks"\ntemporary_errors = [0]', r"carrier\.temporary_errors\[0\] must be a whole number >= 1"),
        (
            '"masks"',
            '"masks"\ntemporary_errors = [5, 6]\npermanent_errors = [6]',
            r"carrier\.temporary_errors and permanent_errors both have 6",
        ),
        ('"masks"', '"masks"\nrefusal_status = -1', r"carrier\.refusal_status must be a whole number >= 0"),
        ('"masks"', '"masks"\nreceipts_by_text = 1', r"carrier\.receipts_by_text must be true or false"),
        (
            '"masks"',
            '"masks"\nparts_timeout_seconds = 0',
            r"carrier\.parts_timeout_seconds must be a whole number >= 1",
        ),
        ('"masks"', '"masks"\noutbind = 1', r"carrier\.outbind must be true or false"),
        ('system_id = "hub"', 'system_id = "hub"\noutbind = true', r"hub\.outbind is nothing for the role smsc"),
        ('"masks"', '"masks"\ntls_key = "x"', r"carrier\.tls_key needs tls = true"),
        ('"masks"', '"masks"\ntls = true\ntls_key = "x"', r"carrier\.tls_certificate and tls_key go together"),
        ('"masks"', '"masks"\nvalidity_seconds = -1', r"carrier\.validity_seconds must be a whole number >= 0"),
        ('"masks"', '"masks"\nid_tlv = 0', r"carrier\.id_tlv must be a whole number >= 1"),
        ('"masks"', '"masks"\naccount = "me"', r"carrier\.account is no account SID"),
        ('"masks"', '"masks"\ntls = "yes"', r"carrier\.tls must be true or false"),
        ('"masks"', '"masks"\ntls_ca = "ca.pem"', r"carrier\.tls_ca needs tls = true"),
        ('"masks"', '"masks"\nnetworks = ["10.0.0.0/8"]', r"carrier\.networks is nothing for the role esme"),
        ('"10.0.0.0/8"', '"10.0.0.1/8"', r"smpp_peers\.hub\.networks: 10\.0\.0\.1/8 has host bits set"),
        ('system_id = "hub"', 'system_id = "hub"\nhost = "x"', r"smpp_peers\.hub\.host is nothing for the role smsc"),
        (
            'system_id = "hub"',
            'system_id = "hub"\nhots = "x"',
            r"smpp_peers\.hub has the unknown key hots",
        ),
        ("[smpp_peers.hub]", "[smpp_peers.twiml]", "'twiml' cannot be the name of a peer"),
        ("[smpp_peers.hub]", "[smpp_peers.smpp]", "'smpp' cannot be the name of a peer"),
        (
            "[carrier_routes]",
            '[smpp_peers.other]\nrole = "smsc"\nsystem_id = "hub"\npassword = "x"\n[carrier_routes]',
            r"smpp_peers\.hub and smpp_peers\.other have the same system_id",
        ),
        (
            "[carrier_routes]",
            '[carriers.hub]\nkind="file"\npath="x"\n[carrier_routes]',
            "hub has the name of a carrier",
        ),
        ('smpp_listen = "127.0.0.1:0"', "", r"smpp_peers\.hub binds to us, but smpp_listen is empty"),
        ('system_id = "hub"', 'system_id = "hub"\ntls = true', "hub binds to us, but smpp_tls_listen is empty"),
        ('smpp_listen = "', 'smpp_tls_listen = "127.0.0.1:0"\nsmpp_listen = "', "smpp_tls_certificate is needed"),
        ('smpp_listen = "', 'smpp_tls_key = "x"\nsmpp_listen = "', "smpp_tls_certificate is needed with it"),
        ('"*" = "carrier"', '"*" = "carier"', "names the carrier 'carier'; there are carrier, hub, twiml"),
    ],
)
def test_a_peer_that_cannot_work_is_refused_by_name(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """Which table, which field, and what it should hold; never the password."""
    assert before in PEERS
    with pytest.raises(SettingsError, match=complaint) as caught:
        load(tmp_path, PEERS.replace(before, after, 1))

    assert "hush" not in str(caught.value)


def test_a_password_is_read_from_a_file_and_never_printed(tmp_path: Path) -> None:
    """When the server starts; what is printed can be loaded again, but for a password that stands in the file."""
    (tmp_path / "password").write_text("\ufeffs3cret\n", "utf-8")
    loaded = load(tmp_path, PEERS)

    settings = with_carrier_secrets(loaded, {})
    printed = render_settings(LoadedSettings(settings, loaded.origins))

    assert settings.smpp_peers[1].password == "s3cret"
    assert "s3cret" not in printed
    assert "hush" not in printed
    again = load(tmp_path, printed.replace("# password is not shown", 'password = "hush"'))
    assert again.settings == loaded.settings


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('password_file = "/nowhere/x"', r"smpp_peers\.hub\.password: cannot read the file /nowhere/x: No such file"),
        ('password_variable = "HUB"', r"smpp_peers\.hub\.password: the variable HUB holds nothing"),
    ],
)
def test_a_password_that_cannot_be_read_is_an_error_of_the_start(tmp_path: Path, line: str, complaint: str) -> None:
    """A server without it would refuse its peer."""
    loaded = load(tmp_path, PEERS.replace('password_file = "FILE"', line))

    with pytest.raises(SettingsError, match=complaint):
        with_carrier_secrets(loaded, {"HUB": " \n"})
