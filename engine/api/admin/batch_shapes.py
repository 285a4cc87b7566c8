"""Shapes of the admin API about batches of sessions; see `engine.api.admin.shapes`.

    POST   /services/{service}/sessions   items            200 SessionsBatched

The items are a JSON array, as `engine.api.batch_shapes` reads it. Results name no real number.
"""

import msgspec

from engine.core.model.errors import ApiError
from engine.core.numbers.masking import mask_text
from engine.core.sessions.batch import ItemDone, ItemResult


class SessionOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item."""

    session: str | None = None
    """KC… that was made or changed; None when the item was refused."""
    repeated: bool = False
    """Its key was used before; nothing was done again."""
    code: int | None = None
    """Why it was refused."""
    message: str = ""


class SessionsBatched(msgspec.Struct, frozen=True):
    """What became of the items, in their order."""

    results: tuple[SessionOutcome, ...]


def session_outcome(result: ItemResult | ApiError) -> SessionOutcome:
    """Show what became of an item."""
    if isinstance(result, ItemDone):
        return SessionOutcome(session=result.session.sid, repeated=result.is_repeat)
    return SessionOutcome(code=int(result.code), message=mask_text(result.message))
