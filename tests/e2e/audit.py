"""Holds a restarted server against the model of what was acknowledged, and brings the model up to date."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple, TypeVar

from tests.e2e.carrier import REJECTED, call_form
from tests.e2e.load import Load, Passed, Ride, Wire, described
from tests.e2e.tenant import Endpoint, Json

Thing = TypeVar("Thing")

AT_ONCE = 16
"""Requests of an audit that are under way side by side."""


async def audit(load: Load, wire: Wire) -> None:
    """Check that everything acknowledged is there, and that what is there routes, as it says and nowhere else."""
    sessions = {one["sid"]: one for one in await wire.everything(f"{load.service.path}/Sessions", "sessions")}
    await _drop_unacknowledged(load, wire, sessions)
    await _each(load.every_ride(), lambda ride: _compare(ride, wire, sessions))
    rides = [ride for ride in load.every_ride() if not ride.is_deleted]
    bound = _bindings(rides)
    await _check_in_use(load, wire, rides)
    await _each(rides, lambda ride: _check_interactions(ride, wire))
    await _each(rides, lambda ride: _check_redelivery(ride, wire))
    await _each(rides, lambda ride: _check_routes(ride, wire, bound))


async def _drop_unacknowledged(load: Load, wire: Wire, sessions: dict[str, Json]) -> None:
    """Count the sessions whose creation was not acknowledged; they may be there, whole, and are deleted."""
    known = {ride.sid for ride in load.every_ride()}
    unknown = [sid for sid in sessions if sid not in known]
    assert len(unknown) <= load.creates_in_doubt, (unknown, load.creates_in_doubt)
    load.creates_in_doubt = 0
    for sid in unknown:
        path = f"{load.service.path}/Sessions/{sid}"
        people = await wire.everything(f"{path}/Participants", "participants")
        assert len(people) in {0, 2}, "half a session"
        status, _ = await wire.ask("DELETE", path)
        assert status == HTTPStatus.NO_CONTENT
        del sessions[sid]


async def _compare(ride: Ride, wire: Wire, sessions: dict[str, Json]) -> None:
    session = sessions.get(ride.sid)
    if ride.in_doubt:
        ride.is_deleted = session is None
        ride.is_live = session is not None and session["status"] != "closed"
    assert (session is None) == ride.is_deleted, described(ride)
    if session is None:
        return
    assert (session["status"] != "closed") == ride.is_live, described(ride)
    people = await wire.everything(f"{ride.path}/Participants", "participants")
    live = {
        one["identifier"]: Endpoint(one["sid"], one["identifier"], one["proxy_identifier"])
        for one in people
        if one["date_deleted"] is None
    }
    if not ride.in_doubt:
        assert live.keys() == ride.endpoints.keys(), described(ride)
        assert all(endpoint is None or endpoint == live[endpoint.identifier] for endpoint in ride.endpoints.values()), (
            described(ride)
        )
    ride.endpoints = dict(live)
    ride.in_doubt = False


class Bound(NamedTuple):
    """An active pair."""

    ride: Ride
    reaches: tuple[str, str] | None
    """The partner and what they see; None while there is none."""


def _bindings(rides: Iterable[Ride]) -> dict[tuple[str, str], Bound]:
    """Return the active pairs, and whom each reaches; none may be active twice."""
    bound: dict[tuple[str, str], Bound] = {}
    for ride in rides:
        if ride.is_live:
            partners = {caller.sid: (partner.identifier, partner.proxy) for caller, partner in ride.sides}
            for endpoint in filter(None, ride.endpoints.values()):
                pair = (endpoint.identifier, endpoint.proxy)
                assert pair not in bound, f"{pair} is active twice"
                bound[pair] = Bound(ride, partners.get(endpoint.sid))
    return bound


async def _check_in_use(load: Load, wire: Wire, rides: Iterable[Ride]) -> None:
    used = Counter(
        proxy
        for ride in rides
        if ride.is_live
        for proxy in {endpoint.proxy for endpoint in ride.endpoints.values() if endpoint is not None}
    )
    numbers = await wire.everything(f"{load.service.path}/PhoneNumbers", "phone_numbers")
    assert {one["phone_number"]: one["in_use"] for one in numbers} == {
        number: used[number] for number in load.service.pool
    }


async def _check_interactions(ride: Ride, wire: Wire) -> None:
    listed = {one["sid"]: one for one in await wire.everything(f"{ride.path}/Interactions", "interactions")}
    for passed in ride.passed:
        found = listed.pop(passed.interaction, None)
        assert found is not None, f"{passed.interaction} is lost; {described(ride)}"
        resource = passed.form.get("CallSid") or passed.form["MessageSid"]
        assert found["inbound_resource_sid"] == resource
        assert not passed.is_completed or found["outbound_resource_status"] == "completed", found
    assert len(listed) <= ride.talks_in_doubt, (listed.keys(), ride.talks_in_doubt)


async def _check_redelivery(ride: Ride, wire: Wire) -> None:
    """Deliver the latest call or message again: the same bytes."""
    if ride.passed and len(ride.endpoints) == 2:
        last = ride.passed[-1]
        again = await wire.webhook(last.path, last.form)
        assert again.content == last.content, (again, last)


async def _check_routes(ride: Ride, wire: Wire, bound: dict[tuple[str, str], Bound]) -> None:
    """Call from every endpoint; one of a closed session reaches nobody, unless its binding is active in another."""
    for endpoint in filter(None, ride.endpoints.values()):
        owner = bound.get((endpoint.identifier, endpoint.proxy))
        form = call_form(wire.account_sid, endpoint.identifier, endpoint.proxy)
        answer = await wire.webhook("/inbound/voice", form)
        assert answer.reached == (owner and owner.reaches), (answer, described(ride))
        if owner is None or answer.reached is None:
            assert answer.verbs == REJECTED
        else:
            owner.ride.passed.append(Passed("/inbound/voice", form, answer.content, answer.twiml.status_url))


async def _each(things: Iterable[Thing], check: Callable[[Thing], Awaitable[None]]) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(thing: Thing) -> None:
        async with room:
            await check(thing)

    async with asyncio.TaskGroup() as tasks:
        for thing in things:
            tasks.create_task(one(thing))
