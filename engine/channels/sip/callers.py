"""Who calls, and which number was reached, as a request says it and its peer may be believed; sans-IO.

Numbers are handed on as they are written, for the peer's own rules to read. Source: RFC 3261 8.1.1.3; RFC 3325 9.1 and
9.2; Remote-Party-ID is what some switches send instead (draft-ietf-sip-privacy-04).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from engine.channels.sip.addresses import BadAddress, number_in, number_of, read_address, split_addresses
from engine.channels.sip.requests import HeaderAddress, Request
from engine.channels.sip.styles import Trust

ANONYMOUS: Final = "anonymous"
"""The sender of a call whose number is withheld: a stranger everywhere."""


def caller(request: Request, trust: Trust) -> str:
    """Return the number of who calls: asserted, else the remote party's, else From's; `ANONYMOUS` where none tells it.

    An identity that the peer may not assert is ignored. Privacy does not matter here: whoever calls is never shown.
    """
    asserted = request.asserted
    if trust.asserted and asserted and (number := number_of(asserted[0]) or _first_number(_addresses(asserted))):
        return number
    if trust.remote_party and (number := _first_number(_calling(_addresses(request.remote_parties)))):
        return number
    sender = request.echo.sender
    return number_of(sender) or number_in(read_address(sender, "From").uri) or ANONYMOUS


def number_reached(request: Request) -> str:
    """Return the number of the Request-URI, not of To, which tells what was dialled first; empty where it has none."""
    return number_in(request.uri)


def _addresses(values: Iterable[bytes]) -> Iterator[HeaderAddress]:
    for value in values:
        for one in split_addresses(value):
            try:
                yield read_address(one, "identity")
            except BadAddress:
                continue


def _calling(addresses: Iterable[HeaderAddress]) -> Iterator[HeaderAddress]:
    return (one for one in addresses if one.parameters.get(b"party", _CALLING).lower() == _CALLING)


def _first_number(addresses: Iterable[HeaderAddress]) -> str:
    return next(filter(None, (number_in(one.uri) for one in addresses)), "")


_CALLING = b"calling"
