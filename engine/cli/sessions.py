"""`maskline sessions` and `maskline explain`: what a session holds, and why traffic goes where it goes."""

import click

from engine.cli.batches import batch
from engine.cli.client import with_admin
from engine.cli.options import admin_options
from engine.cli.output import show_facts, show_json, show_table
from engine.settings import Settings
from engine.wire.admin import DecisionShape, ExplanationShape, SessionReport


@click.group()
def sessions() -> None:
    """Sessions, as the operator may see them: real numbers masked, no text of messages."""


sessions.add_command(batch)


@sessions.command()
@click.argument("sid")
@admin_options
def show(*, sid: str, settings: Settings, as_json: bool) -> None:
    """Show a session with its participants and latest interactions."""
    found = with_admin(settings, lambda admin: admin.call("GET", f"/sessions/{sid}", answer=SessionReport))
    if as_json:
        show_json(found)
        return
    show_facts(_session_facts(found))
    show_table(
        ("participant", "number", "proxy number", "name", "removed"),
        [
            (one.sid, one.identifier, one.proxy_identifier, one.friendly_name or "", one.date_deleted or "")
            for one in found.participants
        ],
    )
    show_table(
        ("interaction", "type", "inbound", "outbound", "seconds", "arrived"),
        [
            (
                one.sid,
                one.type,
                one.inbound_status or "",
                one.outbound_status or "",
                "" if one.duration_seconds is None else str(one.duration_seconds),
                one.date_created,
            )
            for one in found.interactions
        ],
    )
    if found.has_more_interactions:
        click.echo("older interactions are not shown")


@click.command()
@click.option("--to", "proxy", required=True, metavar="NUMBER", help="The proxy number reached.")
@click.option("--from", "sender", required=True, metavar="NUMBER", help="Who calls or writes.")
@admin_options
def explain(*, proxy: str, sender: str, settings: Settings, as_json: bool) -> None:
    """Say where a call or message would go now, and why; changes nothing."""
    query = {"to": proxy, "from": sender}
    found = with_admin(settings, lambda admin: admin.call("GET", "/explain", answer=ExplanationShape, query=query))
    if as_json:
        show_json(found)
        return
    show_facts(
        [
            ("from", found.sender),
            ("to", found.proxy),
            ("account", found.account_sid),
            ("service", found.service_sid),
            ("session", found.session_sid and f"{found.session_sid} ({found.session_status})"),
            ("expires", found.expires_at),
            ("a call", _ending(found.call)),
            ("a message", _ending(found.message)),
        ]
    )
    for step in found.story:
        click.echo(f"  - {step}")


def _session_facts(found: SessionReport) -> list[tuple[str, object]]:
    return [
        ("session", found.sid),
        ("name", found.unique_name),
        ("account", found.account_sid),
        ("service", found.service_sid),
        ("status", found.status.value),
        ("closed because of", found.closed_reason),
        ("mode", found.mode.value),
        ("ttl", f"{found.ttl_seconds} s" if found.ttl_seconds else None),
        ("created", found.date_created),
        ("first interaction", found.date_started),
        ("last interaction", found.date_last_interaction),
        ("expires", found.expires_at),
        ("ended", found.date_ended),
    ]


def _ending(decision: DecisionShape) -> str:
    text = f"{decision.outcome}: {decision.reason}"
    if decision.to is not None:
        text += f", to {decision.to} showing {decision.caller_id}"
    return text if decision.code is None else f"{text} (code {decision.code})"
