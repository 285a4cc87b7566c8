"""What all pages share: the ports, the limits, the templates, and who looks on."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.console import pages
from engine.console.limits import FailedLogins
from engine.console.monitor import Monitor
from engine.console.settings import ConsoleSettings
from engine.core.model.errors import ApiError
from engine.core.model.logins import LoginSession
from engine.core.model.overview import ConsolePlane
from engine.core.numbers.masking import mask_text
from engine.core.ports.observing import ConsoleObserver
from engine.core.ports.operations import Clock, ControlPlane
from engine.core.rate import SlidingWindow


class ConsoleContext(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a page needs."""

    control: ControlPlane
    plane: ConsolePlane
    settings: ConsoleSettings
    observer: ConsoleObserver
    clock: Clock
    monotonic: Clock
    is_ready: Callable[[], bool]
    """Whether requests can be looked at."""
    monitor: Monitor
    failed_logins: FailedLogins
    limit: SlidingWindow
    """Of the requests of each login session."""

    def namer(self) -> Callable[[str], str]:
        """Return what tells the operator's name of an account; its SID where it has none."""
        names = {account.sid: mask_text(account.friendly_name) for account in self.control.accounts()}
        return lambda account_sid: names.get(account_sid) or account_sid

    def service_namer(self) -> Callable[[str, str], str]:
        """Return what tells the name of an account's service, masked; its SID where it is there no more."""

        def name_of(account_sid: str, service_sid: str) -> str:
            try:
                return mask_text(self.control.service(account_sid, service_sid).unique_name)
            except ApiError:
                return service_sid

        return name_of

    def page(self, request: Request, name: str, login: LoginSession, **values: object) -> Response:
        """Answer with a page of somebody who is logged in."""
        namer = self.namer()
        who = "operator, all accounts" if login.account_sid is None else namer(login.account_sid)
        shared = {
            "who": who,
            "name_of": namer,
            "service_of": self.service_namer(),
            "now": self.clock(),
            "sees_hosts": self.may_see_hosts(login),
        }
        return pages.page(request, name, shared | values, login=login)

    def may_see_hosts(self, login: LoginSession) -> bool:
        """Tell whether the totals of the hosts may be seen: one of several accounts would see its neighbours'."""
        return login.account_sid is None or len(self.control.accounts()) == 1

    def is_good(self, login: LoginSession) -> bool:
        """Tell whether what opened the login session would open another."""
        return login.account_sid is None or self.control.knows(login.credential, login.proof) is not None
