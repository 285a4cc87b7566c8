"""What webhooks of TwiML platforms are told by the operator."""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.channels.carrier_tables import CarriersSettings


@dataclass(frozen=True, kw_only=True)
class WebhookSettings(CarriersSettings):
    """What the webhooks' endpoint reads; `public_url` is never empty there."""

    verify_signatures: bool = True
    """Refuse inbound webhooks without a right X-Twilio-Signature. false lets anybody inject calls and messages."""

    def warnings(self) -> Iterator[str]:
        """Say that everybody may call."""
        yield from super().warnings()
        if not self.verify_signatures:
            yield "SIGNATURES ARE NOT CHECKED: anybody who reaches this port can inject calls and messages"
