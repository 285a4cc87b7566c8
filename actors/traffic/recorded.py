"""The interactions of a host, whether on disk or only in memory: what has to read one before it can go on.

Apart from `interaction_log`, which is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

from collections.abc import Callable, Collection, Container
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from actors.kernel.context import HostContext
from actors.kernel.locks import KeyedLocks
from actors.traffic.interaction_log import InteractionLog
from engine.core.model.records import Address, Interaction, Kind
from engine.core.routing.event_keys import inbound_key
from engine.core.routing.legs import fits, is_open_call, untold_end
from engine.core.routing.traffic import AnswerReport, Decision, InboundEvent, LegReport, ReportOutcome

_VOICE: Final = Kind.VOICE  # a member is found tenfold faster here than in its class (3.11)


class RecordedInteractions:
    """Reads them for reports of legs, redeliveries and ends that nobody tells."""

    def __init__(self, context: HostContext, log: InteractionLog, *, is_here: Callable[[Address], bool]) -> None:
        """Read through this context what the log does not hold; `is_here` tells the numbers of this host."""
        self._context = context
        self._log = log
        self._is_here = is_here
        self._changing = KeyedLocks()
        """Puts those in order who change an interaction, by KI…, from their read to their commit being queued."""
        self.being_changed: Container[str] = self._changing.held
        """Interactions, by KI…, that somebody is to change now."""

    async def calls_of(self, session_sid: str) -> list[Interaction]:
        """Return the open calls of a session."""
        latest = [await self.latest(sid) for sid in self._log.calls.of_session(session_sid)]
        return [call for call in latest if call is not None]

    async def end_untold(self, *, before: float, most: int) -> None:
        """End, as unknown, calls that began before a time and whose end nobody has told; no more than `most`.

        A report that comes later all the same tells more, and is taken.
        """
        forgotten = self._log.calls.begun_before(before)[:most]
        for call_sid, sid in forgotten:
            await self._end_untold(call_sid, sid)

    async def _end_untold(self, call_sid: str, sid: str) -> None:
        async with self.changing(sid):
            call = await self.latest(sid)
            if call is None:
                self._log.calls.forget(call_sid, sid)  # erased while the call went on
            elif is_open_call(call):  # no report was quicker
                name = await self._session_name(call)
                self._log.commit_report(call, untold_end(call, now=self._context.clock()), session_name=name)

    async def known_answer(self, key: str, event: InboundEvent, service_sid: str) -> Decision | None:
        """Return the answer to an event that was routed lately, if its record is there."""
        decision = self._log.answers.find(key, event.sender, service_sid)
        if decision is None or await self._still_kept(key, decision.interaction_sid) is None:
            return None
        return decision

    async def passed_before(self, key: str) -> list[Interaction]:
        """Return what events of the same key became; their senders are for the caller to compare."""
        found = [await self._still_kept(key, sid) for sid in dict.fromkeys(self._log.redeliveries.find(key))]
        return [one for one in found if one is not None and inbound_key(one) == key]

    async def _still_kept(self, key: str, interaction_sid: str) -> Interaction | None:
        """Find what an event became; it is forgotten if it is on disk no more, alone or with its session."""
        interaction = await self.latest(interaction_sid)
        if interaction is None:
            self._log.forget_answer(key, interaction_sid)
        return interaction

    async def knows(self, report: LegReport) -> bool:
        """Tell whether a report that names one leg is about an interaction of this host, not just in its tables."""
        found = await self.about(report)
        return found is not None and self._is_here(found.proxy)

    async def about(self, report: LegReport) -> Interaction | None:
        """Return what a report that names one leg is about, as far as it is known here, whichever host's it is."""
        sid = self._log.sid_of(report)
        return None if sid is None else await self._fitting(report, sid)

    async def named(self, report: LegReport) -> tuple[str, ...]:
        """Return the interactions of which a report that does not say the number reached may be.

        These are the open calls that have its SID, and of those that have ended lately the last.
        """
        if report.kind is not _VOICE or report.is_outbound:
            return ()
        going_on = self._log.calls.open(report.resource_sid, report.account_sid, report.numbers)
        for sid in self._log.calls.ended(report.resource_sid, report.account_sid):
            call = None if sid in going_on else await self.latest(sid)
            if call is not None and fits(report, call):
                going_on = self._log.calls.open(report.resource_sid, report.account_sid, report.numbers)
                return going_on if sid in going_on else (*going_on, sid)
        return going_on

    async def report(self, report: LegReport, answer: AnswerReport) -> None:
        """Take the state of a leg; answers once it is committed, None when it could not be.

        Reports of one interaction are taken in the order in which they come. Raises StoreUnavailable where the
        interaction cannot be read, or what it is now is not committed in time; then nothing is answered.
        """
        if report.is_vague:
            named = await self.named(report)
            if len(named) > 1:
                answer(ReportOutcome.AMBIGUOUS)
                return
            if named:
                report = msgspec.structs.replace(report, interaction_sid=named[0])
        sid = self._log.sid_of(report)
        if sid is None:
            self._log.answer_not_found(report, answer)
            return
        while True:
            async with self.changing(sid):
                interaction = await self._fitting(report, sid)
                if interaction is None or not self._is_here(interaction.proxy):
                    self._log.answer_not_found(report, answer)
                    return
                is_held = self._log.in_flight.get(sid) is interaction
                session_name = await self._session_name(interaction)
                if is_held and self._log.in_flight.get(sid) is not interaction:
                    continue  # it was committed meanwhile, or was not
                if self._log.take_report(report, interaction, session_name, answer):
                    return
            await self._context.store.write(())  # waits for the commit of what it repeats

    async def _session_name(self, interaction: Interaction) -> str | None:
        """Read the name of an interaction's session, where a callback is to say it."""
        service = self._log.service_of(interaction.service_sid)
        if service is None or service.callback_url is None or not service.options.has_rich_callbacks:
            return None
        active = self._log.session_of(interaction)
        if active is not None:
            return active.unique_name
        session = await self._context.store.session(interaction.session_sid)
        return None if session is None else session.unique_name

    def changing(self, interaction_sid: str) -> AbstractAsyncContextManager[None]:
        """Keep others from changing an interaction between its being read and its change being queued."""
        return self._changing.hold(interaction_sid)

    async def latest(self, interaction_sid: str) -> Interaction | None:
        """Return an interaction as it is, what is being committed included."""
        held = self._log.in_flight.get(interaction_sid)
        if held is not None:
            return held
        found = await self._context.store.interaction(interaction_sid)
        return self._log.in_flight.get(interaction_sid, found)

    async def _fitting(self, report: LegReport, sid: str) -> Interaction | None:
        """Return the interaction that a report names if it is the reporter's own and the leg fits."""
        interaction = await self.latest(sid)
        if interaction is None:
            self._log.calls.forget(report.resource_sid, sid)  # erased while the call went on
            return None
        return interaction if fits(report, interaction) else None

    async def settle(self, session_sids: Collection[str]) -> None:
        """Wait for the interactions of sessions that are being committed."""
        await self._log.wait_for_commits(session_sids)
