"""How long the numbers of a lost machine go without an answer, stage by stage: two machines of a cluster on PostgreSQL.

Each round kills all processes of the machine whose host holds the sessions. The other one, which has a host of its own,
takes it over, loads the sessions, and answers. Machines are network namespaces, so it takes root; the database is a
primary and its synchronous standby, all on the same cores.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.report import Figure, Scale, Section, median

SESSIONS: Final = 250_000
ROUNDS: Final = 3

STAGES: Final = {
    "fenced": "the loss is noticed, the old host's connection ended, its epoch raised",
    "begun": "the actor of the new host has a process",
    "attached": "its process is the only one that may commit",
    "loaded": "its sessions are in memory, it listens",
    "answered": "a call to a number of it is answered",
}
"""By name: what has come about by then."""


def measure(scale: Scale) -> Section:
    """Measure; each round has machines of its own."""
    # Imported here: whoever runs other benchmarks needs no tests.
    from benchmarks.takeover_nodes import Watch, filled, measured, running  # noqa: PLC0415
    from tests.cluster.machines import NoMachines  # noqa: PLC0415
    from tests.postgres import NoPostgres  # noqa: PLC0415

    sessions = scale.of(SESSIONS)
    title = f"a lost machine whose host holds {sessions:,} sessions, until another one answers"
    watches: list[Watch] = []
    loads: list[float] = []
    try:
        for _ in range(min(ROUNDS, scale.rounds)):
            with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as here:
                first, *others = here.nodes
                with closing(here.tenant(first, others)) as tenant:
                    pairing = filled(here, tenant, sessions)
                    loads.append(os.getloadavg()[0])
                    watches.append(measured(here, tenant, pairing))
    except (NoMachines, NoPostgres) as reason:
        return Section(f"{title}: left out, {reason}", ())
    load = f"load average {min(loads):.1f} to {max(loads):.1f}"
    figures = [_figure(stage, [watch.seen[stage] for watch in watches]) for stage in STAGES]
    cpu = median([watch.cpu_seconds for watch in watches])
    process = Figure(what="processor of the new host's process", value=cpu, unit="s", note=load)
    return Section(title, (*figures, process))


def _figure(stage: str, times: Sequence[float]) -> Figure:
    note = f"{STAGES[stage]}; {min(times):.1f} to {max(times):.1f} in {len(times)} rounds"
    return Figure(what=stage, value=median(times), unit="s", note=note)
