"""What each mode of a session means, in one table: whose calls and messages pass, what its numbers must be able to do.

A new mode is a member of `Mode` and a row here. Source: behaviour 5, 6 and 9.
"""

from typing import Final, final

from engine.core.model.errors import Code
from engine.core.model.records import Capability, Mode
from engine.core.routing.traffic import Reason

Refusal = tuple[Reason, Code]
"""What an event that does not pass meets: the reason, and the debugger code."""


@final
class ModeRules:
    """A row of the table. No record of msgspec's: compiled code reads its own classes many times as fast."""

    __slots__ = ("call", "lets_all_pass", "message", "mode", "needs", "number", "reply")

    mode: Mode
    """Its name."""
    number: int
    """What stands for it on disk; never given to another mode."""
    needs: Capability
    """What a proxy number must be able to do, both ways."""
    call: Refusal | None
    """What calls meet; None = they pass."""
    message: Refusal | None
    """What messages meet; None = they pass."""
    reply: Refusal | None
    """What all meets that comes from the second participant; None = either may begin."""
    lets_all_pass: bool
    """Nothing is refused for the mode's sake."""

    def __init__(
        self,
        mode: Mode,
        number: int,
        needs: Capability,
        *,
        call: Refusal | None = None,
        message: Refusal | None = None,
        reply: Refusal | None = None,
    ) -> None:
        self.mode = mode
        self.number = number
        self.needs = needs
        self.call = call
        self.message = message
        self.reply = reply
        self.lets_all_pass = call is None and message is None and reply is None


_NO_CALL: Final = (Reason.CALL_TO_MESSAGE_ONLY, Code.CALL_TO_MESSAGE_ONLY)
_NO_MESSAGE: Final = (Reason.MESSAGE_TO_VOICE_ONLY, Code.MESSAGE_TO_VOICE_ONLY)

MODES: Final = {
    row.mode: row
    for row in (
        ModeRules(Mode.VOICE_AND_MESSAGE, 0, Capability.VOICE | Capability.SMS),
        ModeRules(Mode.VOICE_ONLY, 1, Capability.VOICE, message=_NO_MESSAGE),
        ModeRules(Mode.MESSAGE_ONLY, 2, Capability.SMS, call=_NO_CALL),
    )
}
"""Every mode, the widest first: an event whose session names none gets the first that fits, or else the last."""
