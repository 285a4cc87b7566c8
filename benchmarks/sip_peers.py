"""What the redirect server is measured beside: Kamailio with a table in its memory, and a bare protocol that echoes."""

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.packages import program
from benchmarks.peers import Ready, Routes, Serving, cpu_of, until_told

ANSWER_BYTES = 599
"""As long as the engine's 302."""

_START_SECONDS = 30.0
_CONFIGURATION = """#!KAMAILIO
debug=0
log_stderror=yes
fork=yes
children=1
disable_tcp=yes
auto_aliases=no
server_signature=no
listen=udp:127.0.0.1:{port}
mpath="{modules}/"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "db_text.so"
loadmodule "htable.so"
modparam("htable", "db_url", "text://{directory}")
modparam("htable", "htable", "routes=>size=16;dbtable=routes")
modparam("htable", "fetch_rows", 1000)
request_route {{
    if (is_method("ACK")) exit;
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
    $vn(found) = $sht(routes=>$fU:$rU);
    if ($vn(found) == $null) {{ sl_send_reply("404", "Not Found"); exit; }}
    append_to_reply("Contact: <sip:$(vn(found){{s.select,0,/}})@$si;user=phone>\\r\\n");
    append_to_reply("X-Maskline-Caller-Id: $(vn(found){{s.select,1,/}})\\r\\n");
    append_to_reply("X-Maskline-Interaction: KI00000000000000000000000000000000\\r\\n");
    sl_send_reply("302", "Moved Temporarily");
}}
"""
"""No checks, no dialog, no transaction: what a redirect costs Kamailio at the least."""


@contextmanager
def kamailio(pairs: Sequence[tuple[str, str]]) -> Iterator[Serving | None]:
    """Run a Kamailio that knows the partner of each (sender, proxy number); None where the program is missing."""
    found = program("kamailio", package="kamailio")
    modules = next(Path("/usr/lib").glob("*/kamailio/modules"), None)
    if found is None or modules is None:
        yield None
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        text = _CONFIGURATION.format(port=port, directory=directory, modules=modules)
        Path(directory, "kamailio.cfg").write_text(text)
        _write_table(Path(directory), pairs)
        command = [found, "-f", f"{directory}/kamailio.cfg", "-DD", "-E", "-Y", directory, "-P", f"{directory}/pid"]
        with Path(directory, "log").open("wb") as log:
            process = subprocess.Popen([*command, "-m", "256", "-M", "64"], stdout=log, stderr=log, cwd=directory)  # noqa: S603 - our own words
        try:
            _await(port, process, Path(directory, "log"))
            yield _Processes(Ready(port), process.pid)
        finally:
            process.terminate()
            process.wait()


class _Processes(Serving, frozen=True):
    """Kamailio is several processes: their times count together."""

    def cpu_seconds(self) -> float:
        """Return what all of them have used."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
        return sum(map(cpu_of, (self.pid, *map(int, children))))


def _write_table(directory: Path, pairs: Sequence[tuple[str, str]]) -> None:
    (directory / "version").write_text("table_name(string) table_version(int)\nroutes:2\n")
    rows = ["id(int,auto) key_name(string) key_type(int) value_type(int) key_value(string) expires(int)"]
    for index, (sender, proxy) in enumerate(pairs):
        partner, shown = pairs[index ^ 1]
        rows.append(f"{index + 1}:{sender}\\:{proxy}:0:0:{partner}/{shown}:0")
    (directory / "routes").write_text("\n".join([*rows, ""]))


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until it answers."""
    question = (
        b"OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1;rport\r\n"
        b"From: <sip:a@a>;tag=1\r\nTo: <sip:a@a>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    deadline = time.monotonic() + _START_SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.1)
        asking.connect(("127.0.0.1", port))
        while True:
            try:
                asking.send(question)
                asking.recv(_MAX_BYTES)
            except (TimeoutError, ConnectionRefusedError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Kamailio does not answer: {log.read_text('latin-1')[-2000:]}") from None
                time.sleep(0.05)
            else:
                return


class _Echo(asyncio.DatagramProtocol):
    """As many octets back for each INVITE: no reading, no table, no headers."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # as asyncio's
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        if data.startswith(b"INVITE "):
            self.transport.sendto(b"SIP/2.0 302 " + data[12:ANSWER_BYTES], addr)


async def serve_echo(told: Connection, _: Routes) -> None:
    """Serve with a bare protocol on uvloop."""
    transport, _echo = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
    told.send(Ready(transport.get_extra_info("sockname")[1]))
    await until_told(told)
    transport.close()


_MAX_BYTES = 65_535
