"""The certificate that a host's process makes for itself; others know it by what the directory says of it."""

import hmac
import ssl
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes, token_hex
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID

_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "maskline host")])
_SEED_BYTES = 32
_SINCE, _UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""It ends with its process; RFC 5280 has that last time for one that says no end."""


class PeerIdentity(NamedTuple):
    """A certificate and its key, which never leaves the process."""

    context: ssl.SSLContext
    """For the end that shows it."""
    digest: bytes
    """SHA-256 of the certificate."""

    @property
    def certificate(self) -> str:
        """The same as the directory has it."""
        return self.digest.hex()

    @classmethod
    def of_place(cls, secret: bytes, place: int) -> "PeerIdentity":
        """Make that of a place in the cluster that has a secret: all processes of the place have the same."""
        return cls.made(hmac.digest(secret, b"maskline host %d" % place, "sha256"))

    @classmethod
    def made(cls, seed: bytes = b"") -> "PeerIdentity":
        """Make that of a seed of 32 octets; without one, a new one."""
        key = Ed25519PrivateKey.from_private_bytes(seed or token_bytes(_SEED_BYTES))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_SUBJECT)
            .issuer_name(_SUBJECT)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(_SINCE)
            .not_valid_after(_UNTIL)
            .sign(key, None)
        )
        password = token_hex()
        encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0  # nobody resumes
        with TemporaryDirectory() as where:  # OpenSSL's loader takes files only
            pem = Path(where) / "peer.pem"
            pem.write_bytes(certificate.public_bytes(Encoding.PEM) + encrypted)
            context.load_cert_chain(pem, password=password)
        return cls(context, sha256(certificate.public_bytes(Encoding.DER)).digest())


def asking_context() -> ssl.SSLContext:
    """Return the TLS of the end that connects; it has to look at the certificate itself, which nobody has signed."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
