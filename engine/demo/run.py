"""The demo from start to end: engine on a temporary data directory, scene, traffic, comparison, report."""

import asyncio
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console

from engine.app import RunningEngine, running_engine
from engine.channels.sockets import ListenAddress
from engine.demo.application import shop_application
from engine.demo.audit import audit
from engine.demo.carrier import Carrier, Played
from engine.demo.compose import TRAFFIC, recorded
from engine.demo.provision import Stage, set_up
from engine.demo.report import DemoReport, make_report, show_how_to_try, show_report
from engine.demo.script import Door, Routed, Webhook
from engine.settings import Settings
from engine.telemetry.logs import configure_logs


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the demo is run."""

    listen: ListenAddress
    """Where the engine listens; port 0 picks a free one."""
    is_once: bool
    """End after the traffic."""
    as_json: bool
    """Print the report for machines and nothing else."""
    program: str = "maskline"
    """How the command line is called, for lines to paste."""
    traffic: Path = TRAFFIC
    """The recorded file."""


def run_demo(options: DemoOptions, console: Console) -> DemoReport:
    """Run the demo; returns when it is over, at the latest on SIGINT or SIGTERM."""
    with own_directory() as data_dir:
        return uvloop.run(_run(options, console, data_dir))


@contextmanager
def own_directory() -> Iterator[Path]:
    """Yield a directory that lasts as long as the context, to whose demo.log goes whatever is logged."""
    with tempfile.TemporaryDirectory(prefix="maskline-demo-") as name:
        data_dir = Path(name)
        with (data_dir / "demo.log").open("w", encoding="utf-8") as log:
            configure_logs(as_json=True, level="info", stream=log)
            try:
                yield data_dir
            finally:
                configure_logs(as_json=False, level="info")


async def _run(options: DemoOptions, console: Console, data_dir: Path) -> DemoReport:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = Settings(data_dir=data_dir, listen=options.listen, outgoing_allow=("127.0.0.1/32",))
    async with shop_application() as shop, running_engine(settings) as engine:
        stage = await set_up(engine, shop)
        played, seconds = await _play(engine, stage, recorded(options.traffic))
        problems = await audit(engine, stage, shop, [one.webhook for one in played])
        report = make_report(engine, played, problems, seconds=seconds)
        if options.as_json:
            console.print_json(msgspec.json.encode(report).decode())
        else:
            show_report(console, report, played)
            if not options.is_once:
                explain = f"{options.program} explain --data-dir {data_dir}"
                show_how_to_try(console, engine, stage, webhook=_a_call(played), explain=explain)
        if not options.is_once:
            await stop.wait()
    return report


def _a_call(played: Sequence[Played]) -> Webhook:
    calls = (one.webhook for one in played if one.webhook.door is Door.VOICE)
    return next(call for call in calls if isinstance(call.expect, Routed))


async def _play(engine: RunningEngine, stage: Stage, webhooks: Sequence[Webhook]) -> tuple[list[Played], float]:
    """Play what can be played at once, then what waits for a session to expire; only the first is timed."""
    carrier = Carrier(engine.address, engine.public_url, stage)
    started = time.perf_counter()
    played = await carrier.play(one for one in webhooks if one.waits_for_end_of is None)
    seconds = time.perf_counter() - started
    return played + await carrier.play(one for one in webhooks if one.waits_for_end_of is not None), seconds
