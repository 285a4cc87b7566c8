"""The peers of all hosts: switches that ask over SIP, SMSCs and applications that are bound over SMPP."""

from starlette.requests import Request
from starlette.responses import Response

from engine.console.context import ConsoleContext
from engine.core.model.errors import not_found
from engine.core.model.logins import LoginSession


async def show_peers(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show how each peer fares on each host; those of several accounts are the operator's to see."""
    if not context.may_see_hosts(login):
        raise not_found("")
    hosts = (await context.monitor.view(login.account_sid, is_whole=True)).seen.hosts
    peers = [(host.name, one) for host in hosts for one in host.figures.peers]
    return context.page(
        request,
        "peers.html",
        login,
        silent=[host.name for host in hosts if not host.is_answering],
        switches=[(host, one) for host, one in peers if one.protocol == "sip"],
        bound=[(host, one) for host, one in peers if one.protocol == "smpp"],
    )
