"""TwiML platforms: their webhooks on the shared HTTP port."""

from contextlib import ExitStack

import msgspec

from engine.channels.base import Bound, ChannelContext, HttpEndpoint, Spread, Unserved
from engine.channels.twiml.webhooks import WebhookEndpoint, WebhookSettings


class TwimlChannel:
    """Calls, messages and reports of legs as webhooks; connections are the HTTP port's."""

    spread = Spread.EVERY_HOST
    most_connections = 0

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        """Answer webhooks as the settings say, at the public URL that the engine has."""
        self.name = name
        self._settings = settings

    def bind(self, stack: ExitStack) -> Bound:
        """Have no socket."""
        del stack
        return Unserved()

    def http(self, context: ChannelContext) -> HttpEndpoint:
        """Make what answers webhooks."""
        return WebhookEndpoint(
            context.traffic,
            observer=context.observer,
            meter=context.meter,
            clock=context.clock,
            monotonic=context.monotonic,
            settings=msgspec.structs.replace(self._settings, public_url=context.public_url),
        )
