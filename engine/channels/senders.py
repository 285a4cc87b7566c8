"""Which carrier sends for which proxy number, and how it is spoken to; implements the port `Carriers`.

A message that a carrier may have taken is not sent again while we run: after a time-out behind the request, or a 5xx
other than 503, the leg reads `delivery-unknown` (a later status callback still corrects it) and the effect joins the
dead letters, where the operator may replay it. Not connected, 429 and 503 mean not taken: those are tried again.
Source: behaviour 9, 11 and the issue's section on messages out.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import msgspec

from engine.channels.twiml.forms import status_query
from engine.channels.twiml.messages_api import (
    CALL_NOT_IN_PROGRESS,
    HANG_UP_FORM,
    authorization,
    call_url,
    carrier_answer,
    message_form,
    messages_url,
)
from engine.core.model.effects import Effect, HangUpOwed, MessageOwed
from engine.core.model.errors import Code, MasklineError
from engine.core.model.records import Address, DebuggerEvent, Kind, LegStatus
from engine.core.model.sids import SidKind
from engine.core.ports.observing import EgressObserver
from engine.core.ports.operations import Clock
from engine.core.routing.traffic import LegReport, ReportOutcome
from engine.formats.signatures import FORM_TYPE, IDEMPOTENCY_HEADER
from engine.outbound.client import Client, NotReached, any_body
from engine.outbound.delivery import DELIVERED, Delivery, cut, not_delivered, retry_after
from engine.outbound.exchange import Answer
from engine.outbound.settings import CarrierKind, CarrierSettings
from engine.outbound.traces import trace

TWIML = "twiml"
"""The name that routes give to the inbound webhook's own answer."""

ANY_NUMBER = "*"
"""The route of every number that no prefix matches."""

Report = Callable[[LegReport, Callable[[ReportOutcome | None], None]], None]
"""Where legs are reported: `DataPlane.report`."""

_NOT_TAKEN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_PRIVATE_FILE = 0o600


class CarrierMisconfigured(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """A carrier or route cannot be used; the message names it."""


class CarrierRoutes:
    """Longest prefix of a proxy number to carrier; implements the port `Carriers`."""

    def __init__(self, carriers: Sequence[CarrierSettings], routes: Mapping[str, str]) -> None:
        """Take routes such as `{"+1415": "main", "*": "twiml"}`; raises CarrierMisconfigured."""
        self.carriers = {carrier.name: carrier for carrier in carriers if carrier.is_sender}
        for prefix, name in routes.items():
            if name != TWIML and name not in self.carriers:
                raise CarrierMisconfigured(f"route {prefix!r} names carrier {name!r}, which is not configured to send")
        self._default = routes.get(ANY_NUMBER, TWIML)
        prefixes = sorted((prefix for prefix in routes if prefix != ANY_NUMBER), key=len, reverse=True)
        self._routes = [(prefix, routes[prefix]) for prefix in prefixes]

    def sender_for(self, proxy: Address) -> str | None:
        """Return the carrier that sends messages from a number, None = the inbound webhook's answer does."""
        name = next((name for prefix, name in self._routes if proxy.startswith(prefix)), self._default)
        return None if name == TWIML else name

    def caller_for(self, proxy: Address) -> str | None:
        """Return the carrier that can end running calls of a number, None = there is none."""
        return self.sender_for(proxy)


class _Taken:
    """Awaits what becomes of one report; harmless when nobody waits any more."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[ReportOutcome | None] = asyncio.get_running_loop().create_future()

    def set(self, outcome: ReportOutcome | None) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Switchboard:
    """Sends messages and ends calls through the configured carriers."""

    def __init__(
        self,
        routes: CarrierRoutes,
        *,
        client: Client,
        report: Report,
        status_url: str,
        observer: EgressObserver,
        clock: Clock,
        pause_seconds: float = 1.0,
    ) -> None:
        """Send through `client`; carriers report to `status_url`, what they answer at once goes to `report`.

        A report that the store could not take is made again after a pause.
        """
        self._pause_seconds = pause_seconds
        self._carriers = routes.carriers
        self._client = client
        self._report = report
        self._status_url = status_url
        self._observer = observer
        self._clock = clock

    async def deliver(self, effect: Effect, duty: MessageOwed | HangUpOwed) -> Delivery:
        """Try once; a message's leg is reported as the carrier answers."""
        carrier = self._carriers.get(duty.carrier)
        if carrier is None:
            return Delivery(error="the carrier is no longer configured to send")
        if carrier.kind is CarrierKind.FILE:
            return await self._write(effect, duty, Path(carrier.path))
        if isinstance(duty, HangUpOwed):
            return await self._hang_up(effect, duty, carrier)
        return await self._send(effect, duty, carrier)

    async def gave_up(self, effect: Effect, duty: MessageOwed | HangUpOwed, delivery: Delivery) -> None:
        """Report the leg of a message that will not be tried again."""
        if isinstance(duty, HangUpOwed):
            problem = f"The call was not ended: {delivery.error}"
            self._tell(Code.DOWNSTREAM_REJECTED, effect, problem, delivery=delivery, resource_sid=duty.call_sid)
            return
        if delivery.may_be_taken:
            problem = f"It is unknown whether the message was sent: {delivery.error}"
            self._tell(Code.DOWNSTREAM_ERROR, effect, problem, delivery=delivery, resource_sid=None)
        status = LegStatus.DELIVERY_UNKNOWN if delivery.may_be_taken else LegStatus.FAILED
        await self._reported(_leg(effect, duty, status, problem=delivery.error))

    # -- messages-api --------------------------------------------------------------------------------------------

    async def _send(self, effect: Effect, duty: MessageOwed, carrier: CarrierSettings) -> Delivery:
        url = messages_url(carrier.url, carrier.account_sid)
        form = message_form(duty, f"{self._status_url}?{status_query(duty.interaction_sid)}")
        outcome = await self._post(effect, carrier, url, form)
        if isinstance(outcome, NotReached):
            is_safe = not outcome.may_be_taken and not outcome.is_for_good
            return Delivery(
                error=cut(str(outcome)),
                may_retry=is_safe,
                may_be_taken=outcome.may_be_taken,
                trace=trace(url, _shown(duty), outcome),
            )
        if not outcome.is_ok:
            return _refused(outcome, url, duty, now=self._clock())
        answer = carrier_answer(outcome.body)
        status = answer.status or LegStatus.DELIVERY_UNKNOWN
        await self._reported(_leg(effect, duty, status, resource_sid=answer.sid or ""))
        return DELIVERED

    async def _hang_up(self, effect: Effect, duty: HangUpOwed, carrier: CarrierSettings) -> Delivery:
        url = call_url(carrier.url, carrier.account_sid, duty.call_sid)
        outcome = await self._post(effect, carrier, url, HANG_UP_FORM)
        if isinstance(outcome, NotReached):
            return not_delivered(outcome, now=self._clock())
        is_over = outcome.status == HTTPStatus.NOT_FOUND or carrier_answer(outcome.body).code == CALL_NOT_IN_PROGRESS
        return DELIVERED if outcome.is_ok or is_over else not_delivered(outcome, now=self._clock())

    async def _post(self, effect: Effect, carrier: CarrierSettings, url: str, form: bytes) -> Answer | NotReached:
        headers = {
            "Content-Type": FORM_TYPE,
            "Authorization": authorization(carrier.account_sid, carrier.auth_tokens[0]),
            IDEMPOTENCY_HEADER: effect.sid,
        }
        try:
            return await self._client.post(
                url, form, headers=headers, account_sid=effect.account_sid, needs_body=any_body
            )
        except NotReached as problem:
            return problem

    # -- file ----------------------------------------------------------------------------------------------------

    async def _write(self, effect: Effect, duty: MessageOwed | HangUpOwed, path: Path) -> Delivery:
        line = msgspec.json.encode({"effect": effect.sid, "at": self._clock(), **msgspec.to_builtins(duty)}) + b"\n"
        try:
            await asyncio.to_thread(_append, path, line)
        except OSError as problem:
            return Delivery(error=f"cannot write the carrier's file: {problem.strerror}", may_retry=True)
        if isinstance(duty, MessageOwed):
            sid = SidKind.SMS + effect.sid[len(SidKind.SMS) :]
            await self._reported(_leg(effect, duty, LegStatus.SENT, resource_sid=sid))
        return DELIVERED

    # -- what becomes of it --------------------------------------------------------------------------------------

    async def _reported(self, report: LegReport) -> None:
        """Report until it is taken: while the store is down the message must not count as unsent."""
        while True:
            taken = _Taken()
            self._report(report, taken.set)
            if await taken.outcome is not None:
                return
            await asyncio.sleep(self._pause_seconds)

    def _tell(self, code: Code, effect: Effect, message: str, *, delivery: Delivery, resource_sid: str | None) -> None:
        self._observer.debugger(
            DebuggerEvent(
                code=code,
                account_sid=effect.account_sid,
                service_sid=effect.service_sid,
                session_sid=effect.session_sid,
                resource_sid=resource_sid,
                message=message,
                at=self._clock(),
                webhook=delivery.trace,
            )
        )


def _refused(outcome: Answer, url: str, duty: MessageOwed, *, now: float) -> Delivery:
    answer = carrier_answer(outcome.body)
    code = "" if answer.code is None else f" with {answer.code}"
    is_unsure = outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR and outcome.status not in _NOT_TAKEN
    return Delivery(
        error=cut(f"carrier answered {outcome.status}{code}: {answer.message}".removesuffix(": ")),
        may_retry=outcome.status in _NOT_TAKEN,
        may_be_taken=is_unsure,
        retry_after_seconds=retry_after(outcome, now=now),
        trace=trace(url, _shown(duty), outcome),
    )


def _shown(duty: MessageOwed) -> dict[str, str]:
    return {"From": duty.sender, "To": duty.to, "Body": duty.body}


def _leg(
    effect: Effect, duty: MessageOwed, status: LegStatus, *, resource_sid: str = "", problem: str = ""
) -> LegReport:
    return LegReport(
        kind=Kind.MESSAGE,
        account_sid=effect.account_sid,
        interaction_sid=duty.interaction_sid,
        is_outbound=True,
        resource_sid=resource_sid,
        status=status,
        problem=problem,
    )


def _append(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, _PRIVATE_FILE)
    try:
        os.write(file, line)
    finally:
        os.close(file)
