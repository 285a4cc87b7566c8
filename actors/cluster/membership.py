"""The records of `engine.core.ports.membership`, under the name that the actors know."""

from engine.core.ports.membership import (
    ClusterRows,
    HostsDiffer,
    HostTold,
    Ledger,
    MembershipRefused,
    NodeNameTaken,
    NodeRow,
    PlaceRow,
    PlaceState,
)

__all__ = [
    "ClusterRows",
    "HostTold",
    "HostsDiffer",
    "Ledger",
    "MembershipRefused",
    "NodeNameTaken",
    "NodeRow",
    "PlaceRow",
    "PlaceState",
]
