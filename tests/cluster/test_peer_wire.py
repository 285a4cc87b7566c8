"""What hosts write to each other: frames, proofs and TLS, without a socket."""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cluster.peer_identity import PeerIdentity, asking_context
from engine.cluster.peer_wire import (
    CHALLENGE_BYTES,
    BadPeer,
    Frame,
    FrameReader,
    TlsPipe,
    challenge_message,
    demand_secret,
    head,
    proof_message,
    read_challenge,
    read_proof,
)

SECRET, CHALLENGE, CERTIFICATE = b"s" * 32, b"c" * CHALLENGE_BYTES, b"f" * 32
FRAMES = st.lists(
    st.builds(Frame, st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=300)), max_size=12
)


def written(frames: list[Frame]) -> bytes:
    return b"".join(head(one.number, one.kind, len(one.message)) + one.message for one in frames)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Cut bytes anywhere, also into nothing."""
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        yield data[start:end]


def read_all(reader: FrameReader, data: Iterator[bytes]) -> list[Frame]:
    return [frame for piece in data for frame in reader.read(piece)]


@given(FRAMES, st.lists(st.integers(0, 4000)))
def test_frames_are_read_however_the_bytes_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    """In order, each once."""
    reader = FrameReader(300)

    assert read_all(reader, pieces(written(frames), cuts)) == frames


@given(FRAMES, st.integers(301, 2**32 - 1), st.lists(st.integers(0, 4000)))
def test_a_message_that_is_too_long_is_refused_before_it_is_there(
    frames: list[Frame], length: int, cuts: list[int]
) -> None:
    """Its head is enough, wherever the bytes are cut: nothing is kept for it."""
    reader = FrameReader(300)

    with pytest.raises(BadPeer, match=f"{length} bytes"):
        read_all(reader, pieces(written(frames) + head(1, 4, length), cuts))


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_garbage_is_frames_or_refused(garbage: bytes, cuts: list[int]) -> None:
    """Nothing else is raised."""
    reader = FrameReader(64)

    with suppress(BadPeer):
        assert all(len(frame.message) <= 64 for frame in read_all(reader, pieces(garbage, cuts)))


def test_a_larger_message_is_taken_once_it_is_allowed() -> None:
    """From the next read on."""
    reader = FrameReader(10)
    reader.limit = 300

    assert reader.read(written([Frame(1, 4, bytes(300))])) == [Frame(1, 4, bytes(300))]


def test_a_proof_tells_who_asks() -> None:
    """The place of the one that has the secret."""
    proof = proof_message(SECRET, CHALLENGE, CERTIFICATE, source=63, target=7)

    assert read_proof(proof, SECRET, CHALLENGE, CERTIFICATE, target=7) == 63


@pytest.mark.parametrize(
    ("secret", "challenge", "certificate", "target"),
    [
        (b"t" * 32, CHALLENGE, CERTIFICATE, 7),
        (SECRET, b"d" * CHALLENGE_BYTES, CERTIFICATE, 7),
        (SECRET, CHALLENGE, b"g" * 32, 7),
        (SECRET, CHALLENGE, CERTIFICATE, 8),
    ],
    ids=["secret", "challenge", "certificate", "target"],
)
def test_a_proof_is_good_for_nothing_else(secret: bytes, challenge: bytes, certificate: bytes, target: int) -> None:
    """Not for another secret, connection, process or host."""
    proof = proof_message(SECRET, CHALLENGE, CERTIFICATE, source=1, target=7)

    with pytest.raises(BadPeer):
        read_proof(proof, secret, challenge, certificate, target=target)


@given(st.binary(max_size=64))
def test_what_is_no_proof_is_refused(message: bytes) -> None:
    """Of whatever length."""
    with pytest.raises(BadPeer):
        read_proof(message, SECRET, CHALLENGE, CERTIFICATE, target=7)


@given(st.integers(0, 33), st.integers(1, 255))
def test_a_proof_of_which_a_byte_is_another_is_refused(at: int, change: int) -> None:
    """The place that it names among them."""
    proof = bytearray(proof_message(SECRET, CHALLENGE, CERTIFICATE, source=1, target=7))
    proof[at] ^= change

    with pytest.raises(BadPeer):
        read_proof(bytes(proof), SECRET, CHALLENGE, CERTIFICATE, target=7)


@pytest.mark.parametrize("message", [b"", b"maskline-peers/2\n" + CHALLENGE, challenge_message(CHALLENGE[:-1])])
def test_what_is_no_challenge_of_this_version_is_refused(message: bytes) -> None:
    """A host of another release is told apart."""
    assert read_challenge(challenge_message(CHALLENGE)) == CHALLENGE

    with pytest.raises(BadPeer):
        read_challenge(message)


@pytest.mark.parametrize("secret", [b"", b"x" * 15])
def test_a_secret_that_can_be_guessed_is_none(secret: bytes) -> None:
    """Least of all an empty one, which everybody has."""
    with pytest.raises(ValueError, match=f"secret of {len(secret)} bytes"):
        demand_secret(secret)


IDENTITY = PeerIdentity.made()


def passed(source: TlsPipe, target: TlsPipe, cuts: list[int]) -> bytes:
    """Carry what one end has to send to the other, cut anywhere."""
    return b"".join(target.receive(piece) for piece in pieces(source.outgoing(), cuts))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3000), max_size=30), st.lists(st.binary(max_size=40_000), max_size=4))
def test_tls_carries_all_however_the_bytes_are_cut(cuts: list[int], messages: list[bytes]) -> None:
    """Both ways; the client sees the certificate before it has said anything."""
    client, server = TlsPipe(asking_context(), is_server=False), TlsPipe(IDENTITY.context, is_server=True)
    for _ in range(3):
        passed(client, server, cuts)
        passed(server, client, cuts)

    assert client.is_secured
    assert server.is_secured
    assert client.peer_certificate() == IDENTITY.digest
    for message in messages:
        client.send(message)
        assert passed(client, server, cuts) == message
        server.send(message)
        assert passed(server, client, cuts) == message


def test_no_older_tls_is_spoken() -> None:
    """1.3 alone, at both ends."""
    older = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    older.check_hostname, older.verify_mode = False, ssl.CERT_NONE
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = TlsPipe(older, is_server=False), TlsPipe(IDENTITY.context, is_server=True)

    with pytest.raises(ssl.SSLError, match=r"(?i)protocol|version"):
        passed(client, server, [])
    assert asking_context().minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_certificate_is_a_new_one_each_time() -> None:
    """And the directory has its digest in hexadecimal."""
    other = PeerIdentity.made()

    assert other.certificate != IDENTITY.certificate
    assert bytes.fromhex(other.certificate) == other.digest


def test_all_processes_of_a_place_have_the_same_certificate_where_a_secret_makes_it() -> None:
    """Another one than those of other places, and of other clusters."""
    same = [PeerIdentity.of_place(b"secret", 1).certificate for _ in range(2)]
    others = {PeerIdentity.of_place(b"secret", 11).certificate, PeerIdentity.of_place(b"other", 1).certificate}

    assert same[0] == same[1]
    assert len({*others, same[0]}) == 3
