"""What the demo shows: a table of what was routed where and why, totals, and lines to try it by hand."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from engine.app import RunningEngine
from engine.core.numbers.e164 import mask_address
from engine.demo.carrier import Played, signed
from engine.demo.provision import Stage
from engine.demo.script import Answered, Door, Refused, Reported, Routed, TurnedAway, Webhook, outcome_of

_SHOWN_DIFFERENCES = 20


class Row(msgspec.Struct, frozen=True):
    """One ending and how often it came."""

    outcome: str
    reason: str
    calls: int
    messages: int
    reports: int


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The demo in figures."""

    address: str
    """Where the engine listens."""
    webhooks: int
    """How many were played."""
    seconds: float
    """How long that took, without the wait for a session to expire."""
    per_second: int
    """Webhooks per second; the demo's own HTTP client is the slower side."""
    endings: tuple[Row, ...]
    """What became of them."""
    differences: tuple[str, ...]
    """Where the engine decided otherwise than the file, a sentence each."""


def make_report(
    engine: RunningEngine, played: Sequence[Played], problems: Iterable[str], *, seconds: float
) -> DemoReport:
    """Sum up what was played."""
    differences = [f"{one.webhook.id} ({one.webhook.story}): {one.difference}" for one in played if one.difference]
    return DemoReport(
        address=engine.address,
        webhooks=len(played),
        seconds=round(seconds, 3),
        per_second=round(len(played) / seconds),
        endings=tuple(_rows(one.webhook for one in played)),
        differences=(*differences, *problems),
    )


def _rows(webhooks: Iterable[Webhook]) -> list[Row]:
    counts = Counter((outcome_of(webhook.expect), webhook.door) for webhook in webhooks)
    endings = sorted(
        {ending for ending, _ in counts}, key=lambda ending: (-sum(counts[ending, door] for door in Door), ending)
    )
    return [
        Row(*ending, *(counts[ending, door] for door in (Door.VOICE, Door.MESSAGE, Door.STATUS))) for ending in endings
    ]


def show_report(console: Console, report: DemoReport, played: Sequence[Played]) -> None:
    """Print tables and totals."""
    console.print(_endings_table(report))
    console.print()
    console.print(_examples_table(played))
    console.print()
    rate = f"{report.per_second:,}/s, as fast as the demo's own client goes"
    console.print(f"{report.webhooks} webhooks in {report.seconds:.2f} s ({rate})")
    if not report.differences:
        console.print("[bold green]Every decision is the one the recorded file expects.")
        return
    console.print(f"[bold red]{len(report.differences)} decisions differ from the recorded file:")
    for line in report.differences[:_SHOWN_DIFFERENCES]:
        console.print(f"  {line}", markup=False)


def _endings_table(report: DemoReport) -> Table:
    table = Table(title="What became of the traffic", title_justify="left", show_footer=True)
    sums = [sum(getattr(row, name) for row in report.endings) for name in ("calls", "messages", "reports")]
    table.add_column("outcome", "all", no_wrap=True)
    table.add_column("why", no_wrap=True)
    for name, total in zip(("calls", "messages", "leg reports"), sums, strict=True):
        table.add_column(name, str(total), justify="right", no_wrap=True)
    for row in report.endings:
        counts = (str(count) if count else "" for count in (row.calls, row.messages, row.reports))
        table.add_row(row.outcome, row.reason, *counts)
    return table


def _examples_table(played: Sequence[Played]) -> Table:
    """Show one webhook of every ending in every kind of conversation."""
    table = Table(title="One of each (real numbers masked)", title_justify="left")
    for column in ("what happened", "from", "to", "became"):
        table.add_column(column, no_wrap=column in {"from", "to"})
    seen = set()
    for one in played:
        webhook = one.webhook
        key = (webhook.lane.partition("-")[0], outcome_of(webhook.expect), webhook.door)
        if key in seen or webhook.door is Door.STATUS:
            continue
        seen.add(key)
        table.add_row(
            webhook.story, mask_address(webhook.form.get("From", "")), webhook.form.get("To", ""), _became(webhook)
        )
    return table


def _became(webhook: Webhook) -> str:
    match webhook.expect:
        case Routed(to=to, caller_id=caller_id):
            verb = "rings" if webhook.door is Door.VOICE else "reaches"
            return f"{verb} {mask_address(to)}, who sees {caller_id}"
        case Refused(reason=reason):
            return f"{'rejected' if webhook.door is Door.VOICE else 'dropped'}: {reason}"
        case Answered(reason=reason):
            return f"answered: {reason}"
        case TurnedAway(problem=problem):
            return f"turned away: {problem}"
        case Reported(outcome=outcome):
            return f"{outcome}"


def show_how_to_try(console: Console, engine: RunningEngine, stage: Stage, *, webhook: Webhook, explain: str) -> None:
    """Print lines that can be pasted into another terminal; `explain` begins the command of that name."""
    account = stage.accounts[webhook.account]
    path = f"/inbound/{webhook.door}"
    form, headers = signed(webhook, path, public_url=engine.public_url, stage=stage)
    fields = " ".join(f"--data-urlencode '{name}={value}'" for name, value in form.items())
    (header, value), *_ = headers.items()
    service = next(iter(stage.services.values()))
    lines = (
        "# a call arrives, as a carrier tells it (the answer says whom to dial and what to show)",
        f"curl -s {engine.address}{path} -H '{header}: {value}' {fields}",
        "",
        "# the same numbers, explained",
        f"{explain} --to {webhook.form['To']} --from {webhook.form['From']}",
        "",
        "# the REST interface",
        f"curl -s -u {account.sid}:{account.auth_token} {engine.address}/v1/Services/{service}/Sessions",
        "",
        "# the official Python SDK",
        "from twilio.rest import Client",
        f'client = Client("{account.sid}", "{account.auth_token}")',
        f'client.proxy.base_url = "{engine.address}"',
        f'[(s.unique_name, s.status) for s in client.proxy.v1.services("{service}").sessions.list()]',
    )
    console.print(f"\nThe engine keeps running at [bold]{engine.address}[/] until Ctrl-C. Try it:\n")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True, highlight=False)
