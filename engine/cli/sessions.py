"""`maskline sessions` and `maskline explain`: what a session holds, and why traffic goes where it goes."""

from typing import Any

import click
import msgspec

from engine.api.admin.list_shapes import SessionLine, SessionPage, SessionQuery
from engine.api.admin.shapes import DecisionShape, ExplanationShape, SessionReport
from engine.channels.sip.answers import PHRASES
from engine.channels.sip.decisions import answer_to
from engine.channels.sip.peers import peer_of
from engine.channels.sip.styles import AnswerStyle
from engine.cli.batches import batch
from engine.cli.client import AdminClient, Named, Query, query_of, the_service, with_admin
from engine.cli.durations import read_duration
from engine.cli.options import admin_options
from engine.cli.output import show_facts, show_json, show_table
from engine.cli.tree import Refusal
from engine.core.model.sids import SidKind
from engine.core.numbers.masking import mask_text
from engine.core.routing.traffic import Decision, Outcome, Reason
from engine.runtime import clock
from engine.settings import Settings


@click.group()
def sessions() -> None:
    """Sessions, as the operator may see them: real numbers masked, no text of messages."""


sessions.add_command(batch)


@sessions.command("list")
@click.option("--service", metavar="SID|NAME", help="Whose they are; may be left out while there is only one.")
@click.option("--status", type=click.Choice(["open", "in-progress", "closed"]), help="Of this status only.")
@click.option("--since", callback=read_duration, metavar="AGE", help="Made no longer ago than this: 15m, 2h, 3d.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Show at most this many.")
@click.option("--after", metavar="KC…", help="Go on behind this one.")
@admin_options
def list_sessions(*, service: str | None, settings: Settings, as_json: bool, **filters: Any) -> None:  # noqa: ANN401 - what click has parsed
    """List the sessions of a service, newest first."""
    since = filters.pop("since")
    asked = SessionQuery(created_since=None if since is None else clock() - since, **filters)
    page = with_admin(settings, lambda admin: _listed(admin, service, asked))
    if as_json:
        show_json(page)
        return
    show_table(
        ("SID", "status", "mode", "created", "last interaction", "expires", "closed because of", "name"),
        [
            (
                one.sid,
                one.status.value,
                one.mode.value,
                one.date_created,
                one.date_last_interaction or "",
                one.expires_at or "",
                one.closed_reason or "",
                one.unique_name or "",
            )
            for one in page.sessions
        ],
        none="no sessions found",
    )
    if page.after is not None:
        click.echo(f"there are more: --after {page.after}")


async def _listed(admin: AdminClient, service: str | None, query: SessionQuery) -> SessionPage:
    """Read on until there are as many as wanted, since a request looks at a part of a long list only."""
    path = ("/services/", await the_service(admin, service))
    if query.after is not None:
        await admin.call("GET", f"/sessions/{query.after}", answer=SessionReport)  # or an end of the list would be seen
    found: tuple[SessionLine, ...] = ()
    while True:
        asked = msgspec.structs.replace(query, limit=query.limit - len(found))
        page = await admin.call("GET", *path, "/sessions", answer=SessionPage, query=query_of(asked))
        found += page.sessions
        if page.after is None or len(found) == query.limit:
            return SessionPage(found, page.after)
        query = msgspec.structs.replace(query, after=page.after)


@sessions.command()
@click.argument("session", metavar="SID|NAME")
@click.option("--service", metavar="SID|NAME", help="Whose name it is, where several services have such a session.")
@admin_options
def show(*, session: str, service: str | None, settings: Settings, as_json: bool) -> None:
    """Show a session with its participants and latest interactions."""
    path = ("/sessions/", Named(SidKind.SESSION, session, service))
    found = with_admin(settings, lambda admin: admin.call("GET", *path, answer=SessionReport))
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
        none="it has no participants",
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
        none="it has no interactions",
    )
    if found.has_more_interactions:
        click.echo("older interactions are not shown")


@click.command()
@click.option("--to", "proxy", required=True, metavar="NUMBER", help="The proxy number reached.")
@click.option("--from", "sender", required=True, metavar="NUMBER", help="Who calls or writes.")
@admin_options
def explain(*, proxy: str, sender: str, settings: Settings, as_json: bool) -> None:
    """Say where a call or message would go now, and why; changes nothing."""
    for option, text in (("--to", proxy), ("--from", sender)):
        if not any(letter.isdigit() for letter in text):
            raise Refusal(f"{option} {mask_text(text)!r} is no number: write it as +14155550100, or as people dial it")
    query: Query = {"to": proxy, "from": sender}
    found = with_admin(settings, lambda admin: admin.call("GET", "/explain", answer=ExplanationShape, query=query))
    if as_json:
        show_json(found)
        return
    show_facts(
        [
            ("from", _who(found.sender, found.sender_sid)),
            ("to", found.proxy),
            ("account", found.account_sid),
            ("service", found.service_sid),
            ("session", found.session_sid and f"{found.session_sid} ({found.session_status})"),
            ("expires", found.expires_at),
            ("a call", _ending(found.call, found.partner_sid)),
            ("a call, over SIP", _over_sip(found.call, settings)),
            ("a message", _ending(found.message, found.partner_sid)),
        ]
    )
    for step in found.story:
        click.echo(f"  - {step}")


def _over_sip(decision: DecisionShape, settings: Settings) -> str:
    """Return what a switch is answered; a refusal as each peer of the settings wants it."""
    decided = Decision(
        Outcome(decision.outcome),
        msgspec.convert(decision.reason, Reason),
        to=decision.to or "",
        caller_id=decision.caller_id or "",
        interaction_sid="KI",
    )
    styles = [peer_of(one).style for one in settings.sip_peers] or [AnswerStyle()]
    statuses = sorted({answer_to(decided, style, came_from="switch").status for style in styles})
    return " or ".join(f"{status} {PHRASES[status]}" for status in statuses)


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


def _who(number: str, participant_sid: str | None) -> str:
    return number if participant_sid is None else f"{number} ({participant_sid})"


def _ending(decision: DecisionShape, partner_sid: str | None) -> str:
    text = f"{decision.outcome}: {decision.reason}"
    if decision.to is not None:
        text += f", to {_who(decision.to, partner_sid)} showing {decision.caller_id}"
    return text if decision.code is None else f"{text} (code {decision.code})"
