"""Certificates for tests of what listens over TLS."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

_MAKE = "req -x509 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -newkey"
EC = "ec -pkeyopt ec_paramgen_curve:prime256v1"
RSA = "rsa:2048"


class Pems(NamedTuple):
    """A certificate and its key."""

    chain: Path
    key: Path

    @property
    def trusting(self) -> ssl.SSLContext:
        """What a client needs that trusts no other."""
        return ssl.create_default_context(cafile=self.chain)

    def put(self, pems: "Pems") -> None:
        """Replace both files, as tools do that renew certificates."""
        for own, other in zip(self, pems, strict=True):
            shutil.copy(other, own.with_suffix(".new"))
            own.with_suffix(".new").rename(own)


def made(where: Path, *, key: str = EC) -> Pems:
    """Make a certificate for localhost."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "the tests of TLS need openssl"
    where.mkdir()
    pems = Pems(where / "certificate.pem", where / "key.pem")
    subprocess.run(  # noqa: S603 - made up of our own words
        [openssl, *_MAKE.split(), *key.split(), "-out", str(pems.chain), "-keyout", str(pems.key)],
        check=True,
        capture_output=True,
    )
    return pems
