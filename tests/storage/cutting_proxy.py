"""A proxy between a store and its database that cuts, holds or counts what the database answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_READ = 65_536


class CuttingProxy:
    """Passes bytes both ways; once armed, passes so many more of the answers and then ends both connections."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.answered = 0
        """Bytes that the database has answered since `arm`."""
        self.asked = 0
        """Bytes that it was asked."""
        self.left: int | None = None
        """Bytes that may still pass; None: all."""
        self.asked_left: int | None = None
        """The same of what the database is asked."""
        self.withholds_until = b""
        """What the database must be asked before any of its answers passes."""
        self._seen = asyncio.Event()
        self.refuses = False
        """Whether new connections are ended at once."""

    def arm(self, *, answers: int | None = None, questions: int | None = None) -> None:
        """Count from now on, and cut after so many bytes."""
        self.answered, self.asked, self.left, self.asked_left = 0, 0, answers, questions

    def withhold_until(self, text: bytes) -> None:
        """Let no answer pass before the database was asked this."""
        self._seen.clear()
        self.withholds_until = text

    def let_pass(self) -> None:
        """Withhold nothing any more."""
        self.withholds_until = b""
        self._seen.set()

    def cut(self) -> None:
        """End all connections now."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        if self.refuses:
            writer.transport.abort()
            return
        to_server = await asyncio.open_unix_connection(str(self._server))
        self._writers |= {writer, to_server[1]}
        for carried in (self._asked(reader, to_server[1]), self._answers(to_server[0], writer, to_server[1])):
            task = asyncio.create_task(carried)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _asked(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_READ):
                self.asked += len(data)
                if self.withholds_until in data:
                    self.let_pass()
                if self.asked_left is not None:
                    data, self.asked_left = data[: self.asked_left], max(self.asked_left - len(data), 0)
                sink.write(data)
                if self.asked_left == 0:
                    self.asked_left = None
                    await sink.drain()
                    break
        sink.close()

    async def _answers(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_READ):
                self.answered += len(data)
                if self.withholds_until:
                    await self._seen.wait()
                if self.left is not None:
                    data, self.left = data[: self.left], max(self.left - len(data), 0)
                sink.write(data)
                if self.left == 0:
                    self.left = None
                    await sink.drain()
                    break
        sink.close()
        asked.close()

    async def end(self) -> None:
        """End what is carried."""
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def cutting_proxy(server: Path, listen: Path) -> AsyncIterator[CuttingProxy]:
    """Listen at a socket in place of the server's."""
    proxy = CuttingProxy(server)
    async with await asyncio.start_unix_server(proxy.accept, str(listen)):
        try:
            yield proxy
        finally:
            await proxy.end()
