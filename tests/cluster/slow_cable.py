"""A relay on the test's own machine through which a server reaches its database, each way as late as is asked."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_READ = 65_536


class SlowCable:
    """Carries connections to an address; runs in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        """Know where it leads; nothing listens yet."""
        self.delay_seconds = 0.0
        """By how much later all that goes from now on comes out, each way."""
        self.port = 0
        self._to = host, port
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._is_listening = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Carry until stopped; the thread's whole life."""
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    def wait_until_it_listens(self) -> None:
        """Return when connections are accepted."""
        assert self._is_listening.wait(10)

    def stop(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._carry, "0.0.0.0", 0)  # noqa: S104 - for another namespace
        self.port = server.sockets[0].getsockname()[1]
        self._is_listening.set()
        await self._stopping.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far: asyncio.StreamWriter | None = None
        try:
            back, far = await asyncio.open_connection(*self._to)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, far))
                tasks.create_task(self._pass(back, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop, due = asyncio.get_running_loop(), 0.0
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def bring() -> None:
            while True:
                at, data = await late.get()
                await asyncio.sleep(at - loop.time())
                if not data:
                    raise ConnectionResetError
                sink.write(data)

        bringing = asyncio.create_task(bring())
        try:
            while True:
                data = await source.read(_READ)
                due = max(due, loop.time() + self.delay_seconds)
                late.put_nowait((due, data))
                if not data:
                    await bringing
        finally:
            bringing.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await bringing


@contextmanager
def slow_cable(host: str, port: int) -> Iterator[SlowCable]:
    """Lay one for as long as the context lasts."""
    cable = SlowCable(host, port)
    thread = threading.Thread(target=cable.run, name="slow cable")
    thread.start()
    try:
        cable.wait_until_it_listens()
        yield cable
    finally:
        cable.stop()
        thread.join()
