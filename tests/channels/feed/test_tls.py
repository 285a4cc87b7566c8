"""The feed over TLS: the same protocol, and a certificate that is renewed while connections are accepted."""

import asyncio
import os
import shutil
import ssl
from pathlib import Path

import pytest

from engine.channels.feed.settings import FeedSettings
from engine.channels.tls import BadCertificate, Certificate
from tests.certificates import EC, RSA, Pems, made
from tests.channels.feed.feed_rig import HELLO, HOOKED, PATIENCE, SENDER, TOLD, Running, call, connected, feeding, until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    """Return the certificate that is there first."""
    return made(tmp_path_factory.mktemp("tls") / "old")


@pytest.fixture(scope="module", params=[EC, RSA], ids=["of the same kind", "of another kind"])
def new(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pems:
    """Return the one that replaces it."""
    return made(tmp_path_factory.mktemp("tls") / "new", key=request.param)


@pytest.fixture
def used(old: Pems, tmp_path: Path) -> Pems:
    """Return the files that the feed reads."""
    used = Pems(tmp_path / "certificate.pem", tmp_path / "key.pem")
    used.put(old)
    return used


async def is_welcome(running: Running, trusted: Pems) -> bool:
    """Tell whether a client that trusts this certificate alone comes in."""
    try:
        async with connected(running, tls=trusted.trusting) as client:
            return bool((await client.ask(HELLO))[0] == "welcome")
    except ssl.SSLCertVerificationError:
        return False


async def test_the_same_goes_over_tls(old: Pems) -> None:
    """Late answers too, and the end is told."""
    async with feeding(certificate=Certificate(*old)) as running, connected(running, tls=old.trusting) as client:
        welcome = await client.ask(HELLO)
        answers = await client.ask([call(), call(HOOKED)])
        running.plane.answer_hooks()
        later = await client.read()
        closing = asyncio.create_task(running.server.stop(PATIENCE))
        rest = await client.ended()
        client.writer.close()
        await closing

    assert (welcome[0], answers[3], later[0], rest) == ("welcome", [TOLD[SENDER], None], "later", b"")


async def test_a_client_that_speaks_no_tls_is_left(old: Pems) -> None:
    """And others are served."""
    async with feeding(certificate=Certificate(*old)) as running:
        async with connected(running) as plain:
            plain.write(HELLO)
            await plain.ended()
        assert await is_welcome(running, old)
    assert running.plane.events == []


async def test_a_renewed_certificate_is_taken_up(used: Pems, old: Pems, new: Pems) -> None:
    """By connections from then on; those that are there go on, and clients that name no server get it too."""
    certificate = Certificate(*used)
    settings = FeedSettings(check_seconds=0.01)
    async with feeding(settings, certificate=certificate) as running, connected(running, tls=old.trusting) as client:
        await client.ask(HELLO)
        before = certificate._current
        used.put(new)
        await until(lambda: certificate._current is not before)

        assert [await is_welcome(running, one) for one in (old, new)] == [False, True]
        assert (await client.ask([call()]))[3] == [TOLD[SENDER]]
        unnamed = new.trusting
        unnamed.check_hostname = False
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=unnamed, server_hostname="")
        assert reader is not None
        writer.close()


def test_one_that_cannot_be_used_leaves_the_old_one(
    used: Pems, old: Pems, new: Pems, caplog: pytest.LogCaptureFixture
) -> None:
    """Half renewed, emptied or gone: it is logged once for each change, and read again with the next one."""
    caplog.set_level("INFO", "maskline.feed")
    certificate = Certificate(*used)
    before, complaint = certificate._current, "The feed goes on with its old certificate: cannot use"

    shutil.copy(new.chain, used.chain)
    certificate.renew()
    certificate.renew()
    half = [record.message.startswith(complaint) for record in caplog.records]
    used.key.write_text("")
    certificate.renew()
    used.key.unlink()
    certificate.renew()
    kept = certificate._current
    used.put(new)
    certificate.renew()

    assert half == [True]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "ERROR", "INFO"]
    assert kept is before
    assert certificate._current is not before


def test_files_that_did_not_change_are_not_read_again(used: Pems) -> None:
    """Nor are those that changed already."""
    certificate = Certificate(*used)
    before = certificate._current
    certificate.renew()
    same = certificate._current
    os.utime(used.key)
    certificate.renew()
    after = certificate._current
    certificate.renew()

    assert same is before
    assert after is not before
    assert certificate._current is after


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path, old: Pems) -> None:
    """A missing file, a file that is no certificate, a key of another."""
    (tmp_path / "empty.pem").write_text("")

    for pair in ((tmp_path / "none.pem", old.key), (tmp_path / "empty.pem", old.key), (old.chain,) * 2):
        with pytest.raises(BadCertificate, match=r"cannot use .* as feed_tls_certificate"):
            Certificate(*pair)
