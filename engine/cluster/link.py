"""How a process of ours gets to speak to the cluster of a data directory; here ray is imported, and not before."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from actors.cluster.hosted import ClusterUnreachable
from engine.cluster.head import LOOPBACK, RayLink, is_reachable, ray_environment, read_link
from engine.core.model.errors import MasklineError
from engine.settings import Settings

if TYPE_CHECKING:
    from actors.ray.cluster import RayCluster


class NoCluster(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """No cluster runs on the data directory."""


@contextmanager
def joined(settings: Settings, link: RayLink) -> Iterator[None]:
    """Be a driver of a Ray.

    Raises:
        ClusterUnreachable: it does not answer, or refuses.
    """
    if link.is_ours:
        os.environ.pop("RAY_AUTH_TOKEN", None)  # another Ray's, and it would win over the file
        os.environ.update(ray_environment(settings.data_dir))
    from actors.ray import cluster  # noqa: PLC0415 - costs a second, and reads the environment when it is imported

    if not is_reachable(link.address):
        raise ClusterUnreachable(f"nothing listens at {link.address}, where Ray should be")
    cluster.connect(link.address, node_address=LOOPBACK if link.is_ours else None)
    try:
        yield
    finally:
        cluster.disconnect()


@contextmanager
def sparing_stdout() -> Iterator[None]:
    """Have what is written to standard output meanwhile go to standard error: a command's answer stands there alone."""
    with _turned(_STDOUT, _STDERR):
        yield


@contextmanager
def output_in(path: Path) -> Iterator[None]:
    """Have what is written to standard output and error meanwhile go to the end of a file; raises OSError."""
    with path.open("ab") as file, _turned(_STDOUT, file.fileno()), _turned(_STDERR, file.fileno()):
        yield


@contextmanager
def _turned(descriptor: int, to: int) -> Iterator[None]:
    """Turn a descriptor itself, since Ray writes from C++ too; where there is none, nothing is."""
    _flush()
    with ExitStack() as back:
        with suppress(OSError):
            kept = os.dup(descriptor)
            back.callback(os.close, kept)
            os.dup2(to, descriptor)
            back.callback(os.dup2, kept, descriptor)
            back.callback(_flush)
        yield


@contextmanager
def running_cluster(settings: Settings) -> "Iterator[RayCluster]":
    """Speak to the cluster that runs on a data directory, or in the Ray that the settings name.

    Raises:
        NoCluster: none does.
        ClusterUnreachable: Ray does not answer.
    """
    link = RayLink(address=settings.ray_address) if settings.ray_address else read_link(settings.data_dir)
    if link is None or not link.address:
        raise NoCluster(f"no cluster runs on the data directory {settings.data_dir}")
    with sparing_stdout(), joined(settings, link):
        from actors.ray.cluster import RayCluster  # noqa: PLC0415 - as above

        cluster = RayCluster.found()
        if cluster is None:
            raise NoCluster(f"the Ray at {link.address} carries no cluster of Maskline")
        yield cluster


def _flush() -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where the process began without one
        with suppress(OSError):  # nobody reads it
            stream.flush()


_STDOUT, _STDERR = 1, 2
