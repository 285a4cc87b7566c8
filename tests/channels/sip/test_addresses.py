"""Which numbers the URIs of SIP headers hold, and how lists of addresses are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.sip.addresses import BadAddress, number_in, read_address, split_addresses


@pytest.mark.parametrize(
    ("uri", "number"),
    [
        (b"sip:+14155550100@host;user=phone", "+14155550100"),
        (b"sips:+14155550100@host:5061", "+14155550100"),
        (b"SIP:14155550100@[2001:db8::1]", "14155550100"),
        (b"tel:+1-415-555-0100", "+14155550100"),
        (b"tel:+1(415)555.0100;ext=22", "+14155550100"),
        (b"sip:%2B14155550100@host", "+14155550100"),
        (b"sip:%252B14155550100@host", ""),
        (b"sip:0014155550100@host", "0014155550100"),
        (b"tel:5550100;phone-context=+1415", "+14155550100"),
        (b"tel:5550100;phone-context=example.com", "5550100"),
        (b"sip:+14155550100;npdi;rn=+14155550199;cic=+1288@host", "+14155550100"),
        (b"sip:9931#14155550100@host", "9931#14155550100"),
        (b"sip:20500@host", "20500"),
        (b"sip:14155550100:secret@host", "14155550100"),
        (b"sip:14155550100", ""),
        (b"sip:anonymous@anonymous.invalid", ""),
        (b"sip:Bob%00@host", ""),
        (b"sip:@host", ""),
        (b"mailto:14155550100@host", ""),
        (b"urn:service:sos", ""),
        (b"", ""),
    ],
)
def test_a_uri_holds_a_number(uri: bytes, number: str) -> None:
    """Of its user part, with separators and parameters taken off and escapes decoded once."""
    assert number_in(uri) == number


@pytest.mark.parametrize(
    ("value", "uri", "tag"),
    [
        (b"<sip:a@b>;tag=1", b"sip:a@b", b"1"),
        (b"sip:a@b;tag=1", b"sip:a@b", b"1"),
        (b'"Smith; <J>" <sip:a@b;x=y>;TAG=1;z', b"sip:a@b;x=y", b"1"),
        (b"Bob Smith <sip:a@b> ; tag = 1", b"sip:a@b", b"1"),
        (b'"a\\"b"<sip:a@b>', b"sip:a@b", b""),
    ],
)
def test_an_address_is_read(value: bytes, uri: bytes, tag: bytes) -> None:
    """In brackets or not; parameters of the URI are not the header's."""
    address = read_address(value, "From")

    assert (address.uri, address.parameters.get(b"tag", b"")) == (uri, tag)


@pytest.mark.parametrize(
    "value", [b"", b"<sip:a@b", b"sip:a@b>", b'"a <sip:a@b>', b"<sip:a b@c>", b"no address", b"<>"]
)
def test_what_is_no_address_is_refused_by_its_header(value: bytes) -> None:
    """So that the answer can name it."""
    with pytest.raises(BadAddress, match="From"):
        read_address(value, "From")


def test_a_list_of_addresses_is_cut_between_them() -> None:
    """Not at a comma in quotes or brackets."""
    assert split_addresses(b'"Smith, A" <sip:a@b?x=1,2> , tel:+1;x=y,') == [
        b'"Smith, A" <sip:a@b?x=1,2>',
        b"tel:+1;x=y",
    ]


@given(st.binary(max_size=60))
def test_nothing_in_an_address_can_do_harm(value: bytes) -> None:
    """A number is digits, or nothing."""
    number = number_in(b"sip:" + value + b"@host")

    assert set(number) <= set("+0123456789*#")
    split_addresses(value)
