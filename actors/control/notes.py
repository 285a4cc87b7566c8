"""Notes of channels that have expired are erased, the oldest first."""

from actors.kernel.context import HostContext
from engine.core.model.changes import NotesErased

NOTES_ERASED_AT_ONCE = 1_000


async def erase_expired_notes(context: HostContext) -> None:
    """Erase what has surely expired; nothing shows it any more."""
    before = context.sure_now()
    while True:
        oldest = await context.store.oldest_note()
        if oldest is None or oldest > before:
            return
        await context.store.write((NotesErased(before, NOTES_ERASED_AT_ONCE),))
