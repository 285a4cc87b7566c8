"""What of a host's data plane may have to wait: reports of legs that are read first, messages that another host sends.

Apart from `traffic`, which is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

from collections.abc import Awaitable, Callable

import msgspec

from actors.cluster.node import ClusterNode
from actors.host.parts import HostParts
from engine.at_once import AtOnce
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.outgoing import RemoteSend
from engine.core.routing.traffic import AnswerReport, LegReport


class Reports:
    """Takes reports of legs, here or on the host that owns their numbers."""

    def __init__(
        self,
        parts: HostParts,
        *,
        counted: Callable[[AnswerReport], AnswerReport],
        take_here: Callable[[LegReport, AnswerReport], None],
    ) -> None:
        """Have those that are taken here `counted`; `take_here` takes those that other hosts do not know either."""
        self._registry = parts.registry
        self._recorded = parts.recorded
        self._node = parts.node
        self._counted = counted
        self._take_here = take_here
        self._at_once = AtOnce()

    def take(self, report: LegReport, answer: AnswerReport) -> None:
        """Take a report, wherever what it is about lies."""
        number = None if report.proxy is None else self._registry.number_at(report.proxy)
        proxy = None if number is None else number.address
        if proxy != report.proxy:
            report = msgspec.structs.replace(report, proxy=proxy)
        self._at_once.run(self._report(report, answer), lambda: answer(None))

    def take_here(self, report: LegReport, answer: AnswerReport) -> None:
        """Take a report of what this host knows, or no host does."""
        self._at_once.run(self._report_here(report, answer), lambda: answer(None))

    def finish(self) -> Awaitable[None]:
        """Give up the reports that wait for what they are about; platforms retry."""
        return self._at_once.finish()

    async def _report(self, report: LegReport, answer: AnswerReport) -> None:
        try:
            found = None if self._node is None or report.is_vague else await self._recorded.about(report)
            owner = None if self._node is None or found is None else self._node.place(found.proxy)
            is_here = self._node is None or owner == self._node.me
            named = () if is_here or not report.is_vague else await self._recorded.named(report)
        except StoreUnavailable:  # the interaction of the leg cannot be read
            answer(None)
            return
        if self._node is None or is_here:
            await self._report_here(report, answer)
        else:
            self._node.forwarder.report(report, named, answer, self._take_here, owner=owner)

    async def _report_here(self, report: LegReport, answer: AnswerReport) -> None:
        try:
            await self._recorded.report(report, self._counted(answer))
        except StoreUnavailable:
            answer(None)


async def send_elsewhere(
    node: ClusterNode | None, key: str, message: bytes, *, channel: str, sender: str
) -> RemoteSend:
    """Have the host on which a channel is placed send a message; where there are no others, nobody does."""
    return RemoteSend() if node is None else await node.send_elsewhere(channel, sender, key, message)
