"""SMPP over TLS, both ways."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest

from engine.channels.smpp.pdu import Command, Status
from engine.channels.smpp.settings import SmppSettings
from engine.channels.sockets import ListenAddress
from engine.core.ports.observing import SmppCount
from tests.certificates import made
from tests.channels.smpp.rig import MESSAGE, Wire, esme, out, sending, serving, smsc
from tests.http.rig import until

pytestmark = pytest.mark.anyio


async def test_a_peer_binds_to_us_over_tls(tmp_path: Path) -> None:
    """And not in clear, where its table says so."""
    pems = made(tmp_path / "pems")
    listening = SmppSettings(
        smpp_tls_listen=ListenAddress("127.0.0.1", 0),
        smpp_tls_certificate=str(pems.chain),
        smpp_tls_key=str(pems.key),
    )
    async with serving(smsc(tls=True), listening=listening) as served:
        port = ListenAddress.parse(served.channels.addresses["smpp"]).port
        wire = Wire(*await asyncio.open_connection("127.0.0.1", port, ssl=pems.trusting, server_hostname="localhost"))
        served.made.append(wire)

        assert (await wire.bind()).status == Status.OK
        assert (await wire.ask(MESSAGE, Command.SUBMIT_SM)).status == Status.OK

    async with serving(smsc(tls=True)) as served:
        assert (await (await served.wire()).bind()).status == Status.BIND_FAILED


async def test_handshakes_that_fail_keep_no_peer_out(tmp_path: Path) -> None:
    """A scanner's connections are over, however many there were."""
    pems = made(tmp_path / "pems")
    listening = SmppSettings(
        smpp_tls_listen=ListenAddress("127.0.0.1", 0),
        smpp_tls_certificate=str(pems.chain),
        smpp_tls_key=str(pems.key),
        max_smpp_connections=2,
    )
    async with serving(smsc(tls=True), listening=listening) as served:
        port = ListenAddress.parse(served.channels.addresses["smpp"]).port
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"no TLS at all\r\n")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
        wire = Wire(*await asyncio.open_connection("127.0.0.1", port, ssl=pems.trusting, server_hostname="localhost"))
        served.made.append(wire)

        assert (await wire.bind()).status == Status.OK
        assert served.gauge("smpp_bound_connections") == 1


async def test_we_bind_over_tls_to_who_has_the_right_certificate(tmp_path: Path) -> None:
    """One that is signed by others is not spoken to."""
    pems = made(tmp_path / "pems")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(pems.chain, pems.key)
    wires: asyncio.Queue[Wire] = asyncio.Queue()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wires.put(Wire(reader, writer))

    far = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=server_side)
    port = far.sockets[0].getsockname()[1]
    async with serving(esme(port, host="localhost", tls=True, tls_ca=str(pems.chain))) as served:
        wire = await wires.get()
        await wire.accept_bind()
        async with sending(served, out("hello")) as task:
            await wire.take("1")
            assert (await task).is_done
        await wire.close()
    async with serving(esme(port, host="localhost", tls=True)) as served:
        await until(lambda: served.counted(SmppCount.NOT_CONNECTED) == 1)
    far.close()
