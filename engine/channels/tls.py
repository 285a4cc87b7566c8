"""The certificate of a listener, which may be renewed in its files while connections are accepted."""

import logging
import ssl
from pathlib import Path

from engine.core.model.errors import MasklineError

_Seen = tuple[tuple[int, int, int] | None, ...]
"""Of each file when it was last looked at: inode, size, nanosecond of its change; None = it was not there."""


class BadCertificate(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Certificate, key or authorities of a listener cannot be used; the message says why."""


class Certificate:
    """A certificate chain and its key, in two PEM files."""

    def __init__(self, chain: str | Path, key: str | Path, *, of: str = "feed", authorities: str = "") -> None:
        """Read the files, `~` being the home directory, for the channel that is called so; raises BadCertificate.

        With authorities, a PEM file, a client may show a certificate, which one of them must have signed.
        """
        self._log = logging.getLogger(f"maskline.{of}")
        files = (chain, key, authorities) if authorities else (chain, key)
        self._files = tuple(Path(file).expanduser() for file in files)
        self._of = of
        self._seen = self._look()
        self._current = self._read()
        self.context = self._current
        """What to listen with; every handshake gets what was read last."""
        self.context.sni_callback = self._hand_current

    def renew(self) -> None:
        """Read files that have changed, for connections from now on; what cannot be used is logged and left out."""
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._current = self._read()
        except BadCertificate as problem:
            self._log.error("The %s goes on with its old certificate: %s", self._of, problem)
        else:
            self._log.info("The %s has a new certificate, from %s", self._of, self._files[0])

    def _hand_current(self, handshake: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """Called by every handshake, whether or not the client has named a server."""
        handshake.context = self._current

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        chain, key, *authorities = self._files
        try:
            context.load_cert_chain(chain, key)
        except OSError as problem:  # an SSLError is one
            raise BadCertificate(
                f"cannot use {chain} as {self._of}_tls_certificate with {key} as {self._of}_tls_key: {problem.strerror}"
            ) from problem
        for file in authorities:
            try:
                context.load_verify_locations(file)
            except OSError as problem:
                raise BadCertificate(
                    f"cannot use {file} as {self._of}_tls_authorities: {problem.strerror}"
                ) from problem
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _look(self) -> _Seen:
        return tuple(map(_stamp, self._files))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
