"""Who wants to hear what becomes of the message that it sent: the SID of its event names it.

So it is known wherever the interaction lies, and after any restart, with nothing to look up.
"""


def sid_asking(resource_sid: str, sender: str) -> str:
    """Return the SID of an event for which a sender of ours, by name, is to be told what becomes of it."""
    return f"{resource_sid}@{sender}"


def asked_by(resource_sid: str | None) -> str:
    """Return the name of the sender through which who sent an event is told; empty = it did not ask."""
    return "" if resource_sid is None else resource_sid.partition("@")[2]
