"""An ESME of smpp34 that submits what is delivered to it: PORT CONNECTIONS. Run by an interpreter that has smpp34."""

import asyncio
import sys

from smpp34 import Client, DeliverSmEvent, Smsc

WINDOW = 1000
"""Submissions of a connection that wait for responses."""
INBOUND = 100_000
"""Texts of a connection that wait to be echoed; smpp34 answers them before, and what is more with ESME_RMSGQFUL."""


async def main(port: int, connections: int) -> None:
    """Bind, and echo until the SMSC goes."""
    clients = [
        Client("127.0.0.1", port, "them", "secret", window_size=WINDOW, inbound_capacity=INBOUND)
        for _ in range(connections)
    ]
    bound = [await client.connect() for client in clients]
    await asyncio.gather(*map(_echo, bound))


async def _echo(smsc: Smsc) -> None:
    under_way: set[asyncio.Task[None]] = set()
    while isinstance(came := await smsc.next(), DeliverSmEvent):
        task = asyncio.create_task(_submit(smsc, came))
        under_way.add(task)
        task.add_done_callback(under_way.discard)


async def _submit(smsc: Smsc, came: DeliverSmEvent) -> None:
    await smsc.submit_sm(came.source_addr, came.short_message, source_addr=came.destination_addr)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
