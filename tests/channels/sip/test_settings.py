"""The tables of SIP peers: what they may hold, and that whatever is wrong names its key."""

from pathlib import Path

import pytest

from engine.channels.sip.peers import Peers, peer_of
from engine.channels.sip.styles import AnswerStyle, ContactStyle, Trust
from engine.channels.sip.tables import SipPeerSettings, sip_peers_of
from engine.settings import Settings, SettingsError, load_settings, render_settings

ACCOUNT = "AC" + "1" * 32
WHOLE = f"""
sip_listen = "127.0.0.1:0"
sip_tls_listen = "127.0.0.1:0"
sip_tls_certificate = "c.pem"
sip_tls_key = "k.pem"
sip_tls_authorities = "a.pem"
[sip_peers.west-1]
networks = ["192.0.2.0/24", "2001:db8::1"]
tls_names = ["sbc.carrier.example"]
account = "{ACCOUNT}"
trust_pai = true
trust_rpid = true
national = "US"
plus_missing = true
strip_prefixes = ["9931#"]
contact_host = "[2001:db8::2]:5070"
contact_transport = "tcp"
contact_style = "user"
refusal_status = 603
requests_per_second = 500
"""


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "maskline.toml"
    file.write_text(text)
    return load_settings(config=file, environ={}, flags={}).settings


def test_a_whole_table_is_read_and_written_again(tmp_path: Path) -> None:
    """As `--print-settings` does."""
    settings = load(tmp_path, WHOLE)

    (peer,) = settings.sip_peers
    assert (peer.name, peer.contact_style, peer.refusal_status) == ("west-1", ContactStyle.USER, 603)
    loaded = load_settings(config=tmp_path / "maskline.toml", environ={}, flags={})
    assert load(tmp_path, render_settings(loaded)) == settings


def test_a_peer_is_what_its_table_says() -> None:
    """Style, trust, numbers and account."""
    (settings,) = sip_peers_of(
        {
            "a": {
                "networks": ["192.0.2.1"],
                "trust_pai": True,
                "refusal_status": 486,
                "account": ACCOUNT,
                "strip_prefixes": ["99"],
                "plus_missing": True,
            }
        }
    )
    peer = peer_of(settings)

    assert (peer.name, peer.account_sid, peer.trust) == ("a", ACCOUNT, Trust(asserted=True))
    assert peer.style == AnswerStyle(refusal_status=486)
    assert peer.read_reached("9914155550100") == "+14155550100"
    assert peer.read_caller("9914155550100") == "+9914155550100"


@pytest.mark.parametrize(
    ("line", "key", "complaint"),
    [
        ('networks = ["10.0.0.0/33"]', "networks", "10.0.0.0/33"),
        ('networks = ["10.0.0.1/8"]', "networks", "host bits"),
        ("networks = 5", "networks", "must be a list"),
        ('account = "AC12"', "account", "no SID"),
        ('national = "USA"', "national", "no ISO country"),
        ('strip_prefixes = ["a"]', "strip_prefixes", "no start of a number"),
        ('contact_host = "a b"', "contact_host", "no host"),
        ('contact_host = "h>;x=<"', "contact_host", "no host"),
        ('contact_transport = "sctp"', "contact_transport", "one of udp, tcp, tls"),
        ('contact_style = "x"', "contact_style", "cannot be 'x'"),
        ("refusal_status = 200", "refusal_status", "one of 403"),
        ("requests_per_second = -1", "requests_per_second", ">= 0"),
        ('trust_pai = "yes"', "trust_pai", "must be true or false, not text"),
        ('tls_names = [""]', "tls_names", "empty"),
        ("colour = 1", "has unknown keys colour", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, key: str, complaint: str) -> None:
    """By table and key, at start."""
    networks = "" if line.startswith("networks") else 'networks = ["192.0.2.1"]'

    with pytest.raises(SettingsError, match=rf"setting 'sip_peers' .*sip_peers.one.{key}.*{complaint}"):
        load(tmp_path, f"[sip_peers.one]\n{networks}\n{line}\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[sip_peers.one]\n", "sip_peers.one.networks is missing"),
        ('[sip_peers."a b"]\nnetworks = ["192.0.2.1"]\n', "cannot be the name of a peer"),
        (
            '[sip_peers.a]\nnetworks = ["192.0.2.0/24"]\n[sip_peers.b]\nnetworks = ["192.0.2.7"]\n',
            "sip_peers.b.networks: 192.0.2.7/32 overlaps 192.0.2.0/24 of sip_peers.a",
        ),
        ('[sip_peers.a]\ntls_names = ["x"]\n', "tls_names needs sip_tls_listen and sip_tls_authorities"),
        ('sip_tls_listen = "127.0.0.1:0"\n', "sip_tls_certificate and sip_tls_key are needed"),
        ('sip_tls_key = "k"\n', "sip_tls_certificate is needed with it"),
        (
            'sip_listen = "[::]:5060"\nsip_tls_listen = "[::]:5060"\nsip_tls_key = "k"\nsip_tls_certificate = "c"\n',
            "host N takes the port plus N",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    """At start, not with the first call."""
    with pytest.raises(SettingsError, match=complaint):
        load(tmp_path, text)


def test_a_certificate_and_a_network_must_both_be_the_peers() -> None:
    """Whoever has names in a certificate is no peer without them."""
    peers = Peers.of(
        [
            SipPeerSettings(name="both", networks=("192.0.2.0/24",), tls_names=("sbc.example",)),
            SipPeerSettings(name="anywhere", tls_names=("roaming.example",)),
            SipPeerSettings(name="plain", networks=("198.51.100.0/24",)),
        ]
    )
    found = {
        (host, name): peers.find_named(host, [name] if name else [])
        for host in ("192.0.2.9", "198.51.100.9", "203.0.113.9")
        for name in ("", "SBC.example", "roaming.example", "other.example")
    }

    assert {place: peer.name for place, peer in found.items() if peer is not None} == {
        ("192.0.2.9", "SBC.example"): "both",
        ("192.0.2.9", "roaming.example"): "anywhere",
        ("198.51.100.9", ""): "plain",
        ("198.51.100.9", "SBC.example"): "plain",
        ("198.51.100.9", "roaming.example"): "anywhere",
        ("198.51.100.9", "other.example"): "plain",
        ("203.0.113.9", "roaming.example"): "anywhere",
    }
    assert peers.find("192.0.2.9") is None
