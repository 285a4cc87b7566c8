"""The page that Prometheus reads: the library's metrics of the process and our own instruments, in either text format.

Source: the Prometheus text format 0.0.4 and OpenMetrics 1.0; the Accept header chooses between them.
"""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from engine.telemetry.instruments import Instrument

_OPENMETRICS = "application/openmetrics-text"
_PLAIN = "text/plain"
_END = b"# EOF\n"


class Exposition:
    """Everything that is told."""

    def __init__(self) -> None:
        """Begin with what the process and its garbage collector tell."""
        self._library = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._library)
        GCCollector(registry=self._library)
        self._instruments: list[tuple[str, str, Instrument]] = []
        self._names: set[str] = set()

    def add(self, instrument: Instrument) -> None:
        """Tell of one more; ValueError where its name is taken."""
        if instrument.name in self._names:
            raise ValueError(instrument.name)
        self._names.add(instrument.name)
        plain = f"{instrument.name}_total" if instrument.kind == "counter" else instrument.name
        self._instruments.append((_head(plain, instrument), _head(instrument.name, instrument), instrument))

    def write(self, accept: str) -> tuple[bytes, str]:
        """Write all metrics in the format that an Accept header asks for; returns them and their content type."""
        accept = _preferred(accept)
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no version
            encode, content_type = choose_encoder("")
        is_openmetrics = content_type.startswith(_OPENMETRICS)
        if is_openmetrics and "version=1." not in content_type:
            encode, content_type = choose_encoder(_OPENMETRICS)  # the version that our lines are of
        parts: list[str] = []
        for plain, open_metrics, instrument in self._instruments:
            parts.append(open_metrics if is_openmetrics else plain)
            parts.extend(instrument.lines())
        ours, theirs = "".join(parts).encode(), encode(self._library)
        return (theirs.removesuffix(_END) + ours + _END if is_openmetrics else theirs + ours), content_type


def _preferred(accept: str) -> str:
    """Leave of an Accept header what the library may choose from; it ignores qualities (RFC 9110 12.4.2)."""
    ranges: dict[str, list[tuple[float, str]]] = {}
    for one in accept.split(","):
        name, *parameters = (part.strip() for part in one.lower().split(";"))
        quality = next((_quality(part[2:]) for part in parameters if part.startswith("q=")), 1.0)
        ranges.setdefault(name, []).append((quality, one))
    plain = next((max(ranges[name])[0] for name in (_PLAIN, "text/*", "*/*") if name in ranges), 0.0)
    open_metrics = max(ranges.get(_OPENMETRICS, [(0.0, "")]))[0]
    chosen = ranges.get(_OPENMETRICS if open_metrics and open_metrics >= plain else _PLAIN, [])
    return ",".join(one for quality, one in sorted(chosen, key=lambda it: -it[0]) if quality)


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0


def _head(name: str, instrument: Instrument) -> str:
    return f"# HELP {name} {instrument.meaning}\n# TYPE {name} {instrument.kind}\n"
