"""TwiML platforms: their webhooks on the shared HTTP port."""

from dataclasses import replace

from engine.channels.base import ChannelContext, HttpEndpoint, Spread, Unserved
from engine.channels.twiml.settings import WebhookSettings
from engine.channels.twiml.webhooks import WebhookEndpoint


class TwimlChannel(Unserved):
    """Calls, messages and reports of legs as webhooks; connections are the HTTP port's."""

    spread = Spread.EVERY_HOST

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        """Answer webhooks as the settings say, at the public URL that the engine has."""
        self.name = name
        self._settings = settings

    def http(self, context: ChannelContext) -> HttpEndpoint:
        """Make what answers webhooks."""
        return WebhookEndpoint(
            context.traffic,
            observer=context.observer,
            meter=context.meter,
            clock=context.clock,
            monotonic=context.monotonic,
            settings=replace(self._settings, public_url=context.public_url),
        )
