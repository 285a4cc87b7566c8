"""A database is believed when its certificate is, and otherwise nothing is told to it."""

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from engine.core.model.errors import StoreUnavailable
from storage.errors import MoveRefused
from storage.postgres.checks import findings
from storage.postgres.connections import conninfo_of
from storage.postgres.schema import migrate
from storage.transfer import export_file
from tests import certificates, postgres
from tests.certificates import Pems
from tests.storage.material import quiet
from tests.storage.stores import InPostgres

pytestmark = pytest.mark.anyio


class Encrypted(NamedTuple):
    """A server that speaks TLS, with a certificate for localhost."""

    port: int
    trusted: Path
    """What is to be trusted to believe it."""

    def url(self, *, host: str = "localhost", mode: str = "verify-full", trusting: Path | None = None) -> str:
        """Tell how to connect to it, by whatever name."""
        where = f"postgresql://{postgres.OWNER}@{host}:{self.port}/postgres?hostaddr=127.0.0.1"
        return f"{where}&sslmode={mode}&sslrootcert={trusting or self.trusted}"


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Encrypted]:
    """Run a server of programs that know TLS; those that pip installs do not."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="pg-tls-"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        pems = certificates.made(directory / "own")
        if os.geteuid() == 0:  # whom the server runs as is to read it, and nobody else
            user = postgres._user()
            assert user is not None
            os.chown(pems.key, 0, user.pw_gid)
            pems.key.chmod(0o640)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        told = {"listen_addresses": "127.0.0.1", "port": str(port), "ssl": "on"}
        told |= {"ssl_cert_file": str(pems.chain), "ssl_key_file": str(pems.key)}
        server = stack.enter_context(postgres.running(told, programs=_that_know_tls()))
        with psycopg.connect(server.conninfo("postgres")) as connection:
            migrate(connection)
        yield Encrypted(port, pems.chain)


def _that_know_tls() -> Path:
    """Find programs that are linked with OpenSSL; others end at once when they are told to speak TLS."""
    found = [programs for programs in postgres.installed() if b"libssl" in (programs / "postgres").read_bytes()]
    if not found:
        pytest.skip("no PostgreSQL here that knows TLS")
    return found[0]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    """Make a certificate that has signed nothing."""
    return certificates.made(tmp_path_factory.mktemp("tls") / "stranger")


async def test_a_server_that_is_verified_is_used(encrypted: Encrypted) -> None:
    """Over TLS, and the check says so."""
    store = InPostgres(encrypted.url()).open()
    await store.start()
    await store.close()

    assert _tls(encrypted.url()) == (True, "verified")


def test_a_server_that_is_not_verified_is_told_by_the_check(encrypted: Encrypted) -> None:
    """TLS alone keeps nobody from answering in its place; without TLS everybody reads along."""
    assert _tls(encrypted.url(mode="require", trusting=Path("/nowhere"))) == (
        False,
        "the server is not verified; use sslmode=verify-full",
    )
    assert _tls(encrypted.url(mode="disable")) == (
        False,
        "none: phone numbers and texts pass in the clear; use sslmode=verify-full",
    )


@pytest.mark.parametrize("host", ["localhost", "database.example"])
def test_a_server_that_anybody_may_be_is_refused(
    encrypted: Encrypted, stranger: Pems, tmp_path: Path, host: str
) -> None:
    """Signed by somebody else, or for another name; the message says where to look, for a server and for commands."""
    trusting = stranger.chain if host == "localhost" else encrypted.trusted
    url = encrypted.url(host=host, trusting=trusting)

    with pytest.raises(StoreUnavailable, match="its certificate is not trusted for that name; see sslmode and"):
        InPostgres(url).open()
    with pytest.raises(MoveRefused, match="its certificate is not trusted for that name"):
        export_file(url, tmp_path, quiet, lease_seconds=0)


def test_a_server_without_tls_is_refused() -> None:
    """Where TLS is asked for, a connection in clear is none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_refuse_tls, args=(listener,))
        thread.start()
        url = f"postgresql://m@localhost:{listener.getsockname()[1]}/x?hostaddr=127.0.0.1&sslmode=require"

        with pytest.raises(StoreUnavailable, match="offers no TLS, which sslmode in database_url asks for"):
            InPostgres(url).open()

        thread.join(30)


def _refuse_tls(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(8)  # SSLRequest
        connection.sendall(b"N")


def _tls(url: str) -> tuple[bool, str]:
    with psycopg.connect(conninfo_of(url)) as connection:
        (found,) = [one for one in findings(connection, replicas=0) if one.subject == "TLS"]
    return found.is_well, found.text
