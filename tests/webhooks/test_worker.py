"""The worker against real receivers: what is owed arrives, in order, once the store has it; memory stays bounded."""

import asyncio
import json
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from engine.core.model.changes import EntrySettled
from engine.core.model.errors import Code
from engine.core.model.exchanges import about
from engine.core.model.outbox import OutboxAlert, OutboxCallback, OutboxEntry, OutboxHangUp, OutboxMessage, ToCarrier
from engine.core.model.records import DebuggerEvent
from engine.core.ports.observing import DeliveryEnd, OutboxKind
from engine.core.ports.outgoing import Outbox
from engine.outbound.delivery import DELIVERED, SETTLED, Delivery
from engine.webhooks import worker as outbox_worker
from engine.webhooks.delivery_log import MAX_GROUP, DeliveryLog
from engine.webhooks.queue_table import LEAST_WINDOW
from tests.http.rig import until
from tests.outbound.material import (
    AC,
    NOW,
    OTHER_AC,
    QUICK,
    TOKEN,
    MemoryStore,
    Remembered,
    callback,
    outbox_entry,
)
from tests.outbound.receiver import Received, Receiver, Reply, receiving
from tests.webhooks.workers import FakeCarriers, Sampler, worker

pytestmark = pytest.mark.anyio


def add(store: MemoryStore, made: Outbox, *entries: OutboxEntry) -> None:
    store.keep(entries)
    made.add(entries)


def interactions(receiver: Receiver) -> list[str]:
    return [request.form["interactionSid"] for request in receiver.received]


def sid_of(entry: OutboxEntry) -> str:
    assert isinstance(entry.content, OutboxCallback)
    return entry.content.interaction.sid


async def test_a_callback_is_delivered_signed_with_its_idempotency_token(
    receiver: Receiver, observer: Remembered
) -> None:
    """The application can check who sent it, and tell a repeat."""
    store, entry = MemoryStore(), callback(f"{receiver.url}/cb?x=1")

    async with worker(store, observer) as made:
        add(store, made, entry)
        await store.until(lambda: not store.pending)

    request = receiver.received[0]
    assert receiver.is_signed(request, TOKEN)
    assert request.headers["i-twilio-idempotency-token"] == entry.sid
    assert request.form["interactionData"] == '{"body":"call me at +14155550100"}'
    assert observer.deliveries == [(OutboxKind.CALLBACK, DeliveryEnd.DELIVERED)]
    assert made.held == 0
    (told,) = observer.exchanges
    assert (told.kind, told.end, told.status, told.url) == ("callback", "delivered", 200, f"{receiver.url}/cb")
    assert (told.account_sid, told.about) == (AC, about(entry.content.interaction))  # type: ignore[union-attr]


async def test_a_debugger_event_is_posted_to_the_accounts_webhook(receiver: Receiver) -> None:
    """Signed like the rest."""
    store = MemoryStore()
    event = DebuggerEvent(sid="NO1", code=Code.STOP_WORD, account_sid=AC, message="a stop word", at=NOW)

    async with worker(store) as made:
        add(store, made, outbox_entry(OutboxAlert(url=receiver.url, event=event)))
        await store.until(lambda: not store.pending)

    form = receiver.received[0].form
    assert receiver.is_signed(receiver.received[0], TOKEN, url=f"{receiver.url}/")
    assert form["Sid"] == "NO1"
    assert json.loads(form["Payload"])["error_code"] == "80901"


async def test_what_the_store_holds_is_delivered_at_start(receiver: Receiver) -> None:
    """A process that was killed with entries outstanding goes on with them."""
    store = MemoryStore()
    store.keep([callback(receiver.url, number) for number in range(1, 21)])

    async with worker(store):
        await store.until(lambda: not store.pending)

    assert len(set(interactions(receiver))) == 20


async def test_entries_of_one_session_arrive_in_order(receiver: Receiver) -> None:
    """Five sessions with twenty entries each, all at once, some of them failing on the first try."""
    failed: set[str] = set()

    def moody(request: Received) -> Reply:
        sid = request.form["interactionSid"]
        if int(sid[-1], 16) % 5 == 0 and sid not in failed:
            failed.add(sid)
            return Reply(status=503)
        return Reply()

    receiver.behaviour = moody
    store = MemoryStore()
    entries = [callback(receiver.url, number, session=number % 5 + 1) for number in range(1, 101)]

    async with worker(store) as made:
        add(store, made, *entries)
        await store.until(lambda: not store.pending)

    arrived = list(dict.fromkeys(interactions(receiver)))
    for session in range(5):
        expected = [sid_of(entry) for number, entry in enumerate(entries, 1) if number % 5 == session]
        assert [sid for sid in arrived if sid in expected] == expected
    assert failed


async def test_what_fails_is_tried_again_and_its_attempts_are_kept(receiver: Receiver, observer: Remembered) -> None:
    """Two failures, then a success; the same token every time. A lost connection that was kept is no try."""
    answers = iter([Reply(status=500), Reply(resets=True), Reply(resets=True), Reply()])
    receiver.behaviour = lambda _: next(answers)
    store, entry = MemoryStore(), callback(receiver.url)

    async with worker(store, observer) as made:
        add(store, made, entry)
        await store.until(lambda: not store.pending)

    assert {request.headers["i-twilio-idempotency-token"] for request in receiver.received} == {entry.sid}
    assert [end for _, end in observer.deliveries] == [DeliveryEnd.FAILED, DeliveryEnd.FAILED, DeliveryEnd.DELIVERED]
    assert [(told.end, told.status) for told in observer.exchanges] == [
        ("failed", 500),
        ("failed", None),
        ("delivered", 200),
    ]
    assert observer.events == []


async def test_the_last_failure_ends_in_the_dead_letters(receiver: Receiver, observer: Remembered) -> None:
    """With the number of tries and why; the account is told, with the trace (80908)."""
    receiver.behaviour = lambda _: Reply(status=500, body=b"sorry, +14155550100")
    store, entry = MemoryStore(), callback(f"{receiver.url}/cb")

    async with worker(store, observer) as made:
        add(store, made, entry)
        await store.until(lambda: bool(store.dead))

    dead, event = store.dead[entry.sid], observer.events[0]
    assert (dead.attempts, dead.last_error, dead.date_died) == (3, "answered 500", NOW)
    assert len(receiver.received) == 3
    assert observer.deliveries[-1] == (OutboxKind.CALLBACK, DeliveryEnd.DIED)
    assert len(observer.events) == 1
    assert (event.code, event.account_sid) == (Code.CALLBACK_FAILED, AC)
    assert f"{receiver.url}/cb" in event.message
    assert event.webhook is not None
    assert (event.webhook.status, event.webhook.body) == (500, "sorry, +1415555XXXX")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_what_may_pass_is_tried_again(receiver: Receiver, status: int) -> None:
    """A receiver that is busy, or has an error of its own, may take it later; as often as the operator says."""
    receiver.behaviour = lambda _: Reply(status=status)
    store = MemoryStore()

    async with worker(store) as made:
        add(store, made, callback(receiver.url))
        await store.until(lambda: bool(store.dead))

    assert len(receiver.received) == QUICK.webhook_tries
    assert [dead.last_error for dead in store.dead.values()] == [f"answered {status}"]


@pytest.mark.parametrize("when", ["700", "Tue, 14 Nov 2023 22:24:00 GMT"])
async def test_a_receiver_says_when_to_come_again(receiver: Receiver, when: str) -> None:
    """`Retry-After`, in seconds or as a date, is waited for up to a bound."""
    receiver.behaviour = lambda _: Reply(status=429, headers=(f"Retry-After: {when}",))
    store, waits = MemoryStore(), list[float]()
    settings = replace(QUICK, longest_retry_after_seconds=0.01, longest_retry_wait_seconds=1.0)

    def draw(low: float, high: float) -> float:
        waits.append(high)
        return 0.0

    async with worker(store, settings=settings, draw=draw) as made:
        add(store, made, callback(receiver.url, attempts=1))
        await store.until(lambda: bool(store.dead))

    assert waits[0] == 0.002  # the second try's, since one was made before the start
    assert receiver.received[1].at - receiver.received[0].at >= 0.01


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 410])
async def test_what_another_try_cannot_mend_is_not_tried_again(receiver: Receiver, status: int) -> None:
    """A redirect is not followed, a 4xx is the receiver's last word."""
    receiver.behaviour = lambda _: Reply(status=status, headers=(f"Location: {receiver.url}/x",))
    store = MemoryStore()

    async with worker(store) as made:
        add(store, made, callback(receiver.url))
        await store.until(lambda: bool(store.dead))

    assert len(receiver.received) == 1


async def test_a_failed_debugger_webhook_raises_no_further_event(receiver: Receiver, observer: Remembered) -> None:
    """Or it would never end."""
    receiver.behaviour = lambda _: Reply(status=404)
    store = MemoryStore()
    event = DebuggerEvent(sid="NO1", code=Code.STOP_WORD, account_sid=AC, message="a stop word", at=NOW)

    async with worker(store, observer) as made:
        add(store, made, outbox_entry(OutboxAlert(url=receiver.url, event=event)))
        await store.until(lambda: bool(store.dead))

    assert observer.events == []
    assert observer.exchanges == []
    assert observer.deliveries == [(OutboxKind.ALERT, DeliveryEnd.DIED)]


async def test_attempts_made_before_a_restart_count(receiver: Receiver) -> None:
    """Two of three tries are spent: one is left."""
    receiver.behaviour = lambda _: Reply(status=500)
    store = MemoryStore()
    store.keep([callback(receiver.url, attempts=2)])

    async with worker(store):
        await store.until(lambda: bool(store.dead))

    assert len(receiver.received) == 1
    assert [dead.attempts for dead in store.dead.values()] == [3]


async def test_a_dead_receiver_does_not_slow_another(receiver: Receiver) -> None:
    """One hangs with every turn taken; everything for the other arrives meanwhile."""
    store = MemoryStore()
    with receiving(lambda _: Reply(hangs=True)) as dead:
        async with worker(store, grace=0) as made:
            add(store, made, *(callback(dead.url, number) for number in range(1, 101)))
            await dead.has_got(QUICK.deliveries_per_destination)
            add(store, made, *(callback(receiver.url, number) for number in range(101, 201)))
            await store.until(lambda: len(store.pending) == 100)

    assert len(receiver.received) == 100
    assert dead.most_at_once == QUICK.deliveries_per_destination
    assert len(store.pending) == 100


async def test_a_destination_may_take_another_number_at_a_time() -> None:
    """A peer with a window of its own, for instance."""
    store = MemoryStore()
    with receiving(lambda _: Reply(hangs=True)) as slow:
        most = QUICK.deliveries_per_destination + 3
        settings = replace(QUICK, connections_per_destination=most)
        wanted = {callback(slow.url, 1).destination: most}
        async with worker(store, settings=settings, deliveries_to=wanted, grace=0) as made:
            add(store, made, *(callback(slow.url, number) for number in range(1, 41)))
            await slow.has_got(most)

    assert slow.most_at_once == most


async def test_slow_callbacks_of_one_account_do_not_slow_another_at_the_same_receiver(receiver: Receiver) -> None:
    """Every turn that one may have hangs; the other is told meanwhile."""
    receiver.behaviour = lambda request: Reply(hangs=request.path == "/slow")
    store = MemoryStore()
    other = msgspec.structs.replace(callback(f"{receiver.url}/quick", 99), account_sid=OTHER_AC)

    async with worker(store, grace=0) as made:
        add(store, made, *(callback(f"{receiver.url}/slow", number) for number in range(1, 31)))
        await receiver.has_got(QUICK.deliveries_per_destination)
        add(store, made, other)
        await store.until(lambda: other.sid not in store.pending)

    assert [request.path for request in receiver.received].count("/quick") == 1
    assert len(receiver.received) == QUICK.deliveries_per_destination + 1


async def test_memory_stays_bounded_and_the_rest_is_read_from_disk(receiver: Receiver) -> None:
    """A thousand entries pass through a window of twenty, in order, each once."""
    settings = replace(QUICK, window_per_destination=20, deliveries_per_destination=4)
    store = MemoryStore()
    entries = [callback(receiver.url, number, session=number % 7 + 1) for number in range(1, 1001)]
    sampler = Sampler()

    async with worker(store, sampler, settings=settings) as made:
        sampler.worker = made
        for some in (entries[at : at + 50] for at in range(0, 1000, 50)):
            add(store, made, *some)
            await asyncio.sleep(0)
        await store.until(lambda: not store.pending)

    arrived = interactions(receiver)
    assert 0 < sampler.most_held <= 40
    assert store.most_read <= 40
    assert Counter(arrived) == Counter(sid_of(entry) for entry in entries)
    for session in range(7):
        expected = [sid_of(entry) for number, entry in enumerate(entries, 1) if number % 7 == session]
        assert [sid for sid in arrived if sid in set(expected)] == expected


async def test_many_destinations_share_the_memory() -> None:
    """Each has a few, all together no more than the operator gave."""
    settings = replace(QUICK, most_in_memory=100, webhook_tries=1, webhook_timeout_seconds=60.0)
    store = MemoryStore()
    with receiving(lambda _: Reply(hangs=True)) as dead:
        hosts = [f"http://127.0.0.{host}:{dead.port}" for host in range(1, 11)]
        store.keep([callback(f"{host}/", 100 * at + number) for at, host in enumerate(hosts) for number in range(50)])

        async with worker(store, settings=settings, grace=0) as made:
            await dead.has_got(QUICK.deliveries_per_destination)
            held = made.held

    assert held <= max(100, LEAST_WINDOW * len(hosts)) * 2
    assert len(store.pending) == 500


async def test_what_was_handed_over_twice_is_delivered_once(receiver: Receiver) -> None:
    """By the store and by the actors, whatever the order."""
    store = MemoryStore()
    entries = [callback(receiver.url, number) for number in range(1, 51)]
    store.keep(entries)

    async with worker(store) as made:
        made.add(entries)
        made.add(entries)
        await store.until(lambda: not store.pending)

    assert Counter(interactions(receiver)) == Counter(sid_of(entry) for entry in entries)


async def test_endings_are_committed_in_groups() -> None:
    """What gathers in a tick, or while a group is being written, is one group, up to a size."""
    store, landed = MemoryStore(), Counter[str]()
    log = DeliveryLog(store, pause_seconds=0.001)

    for _ in range(MAX_GROUP + 200):
        log.add(EntrySettled("EF1"), lambda: landed.update(["EF1"]))
    await log.drain(10)

    assert store.groups == [MAX_GROUP, 200]
    assert landed["EF1"] == MAX_GROUP + 200


async def test_a_store_that_fails_is_waited_for(receiver: Receiver) -> None:
    """Endings are kept until they can be committed; nothing is delivered twice meanwhile."""
    store = MemoryStore()

    async with worker(store) as made:
        store.is_down = True
        add(store, made, *(callback(receiver.url, number) for number in range(1, 11)))
        await receiver.has_got(10)
        store.is_down = False
        await store.until(lambda: not store.pending)

    assert len(receiver.received) == 10


async def test_a_restart_in_the_middle_loses_nothing_and_keeps_the_order(receiver: Receiver) -> None:
    """What was under way gets its grace; what was not stays on disk for the next start."""
    store = MemoryStore()
    entries = [callback(receiver.url, number, session=number % 3 + 1) for number in range(1, 301)]

    async with worker(store) as made:
        add(store, made, *entries)
        await receiver.has_got(50)
    left = len(store.pending)
    async with worker(store):
        await store.until(lambda: not store.pending)

    arrived = interactions(receiver)
    assert 0 < left < 300
    assert Counter(arrived) == Counter(sid_of(entry) for entry in entries)
    for session in range(3):
        expected = [sid_of(entry) for number, entry in enumerate(entries, 1) if number % 3 == session]
        assert [sid for sid in arrived if sid in set(expected)] == expected


async def test_stopping_waits_no_longer_than_its_grace(receiver: Receiver) -> None:
    """A receiver that hangs does not hold the process; its entry is not lost."""
    receiver.behaviour = lambda _: Reply(hangs=True)
    store = MemoryStore()

    async with worker(store, grace=0.01) as made:
        add(store, made, callback(receiver.url))
        await receiver.has_got(1)

    assert len(store.pending) == 1
    assert store.dead == {}


async def test_stopping_does_not_wait_for_those_who_wait_to_try_again(receiver: Receiver) -> None:
    """A back-off of a minute ends at once, and counts as no further try."""
    receiver.behaviour = lambda _: Reply(status=503)
    store = MemoryStore()
    patient = replace(QUICK, first_wait_seconds=1_000.0, longest_retry_wait_seconds=1_000.0)

    async with worker(store, settings=patient, grace=30) as made:
        add(store, made, callback(receiver.url))
        await store.until(lambda: all(entry.attempts == 1 for entry in store.pending.values()))

    assert len(store.pending) == 1
    assert len(receiver.received) == 1


async def test_the_time_of_the_next_try_is_kept_with_the_failure(receiver: Receiver) -> None:
    """The wait that was drawn, on top of what the receiver asks for; the last failure has none."""
    receiver.behaviour = lambda _: Reply(status=503, headers=("Retry-After: 40",))
    store = MemoryStore()
    patient = replace(QUICK, first_wait_seconds=1_000.0, longest_retry_wait_seconds=1_000.0)

    async with worker(store, settings=patient, draw=lambda low, _: low) as made:
        add(store, made, callback(receiver.url, 1), callback(f"{receiver.url}/last", 2, attempts=2))
        await store.until(lambda: bool(store.dead) and all(one.attempts == 1 for one in store.pending.values()))

    assert [one.date_next for one in store.pending.values()] == [NOW + 40 + 500]
    assert [one.date_next for one in store.dead.values()] == [None]


async def test_nothing_is_taken_before_the_start_and_after_the_stop(receiver: Receiver) -> None:
    """It is on disk."""
    store = MemoryStore()

    async with worker(store) as made:
        pass
    add(store, made, callback(receiver.url))

    assert made.held == 0
    assert len(store.pending) == 1


async def test_an_account_that_is_gone_cannot_be_signed_for(receiver: Receiver) -> None:
    """Its entries join the dead letters unsent."""
    store = MemoryStore()
    orphan = msgspec.structs.replace(callback(receiver.url), account_sid="AC" + "0" * 32)

    async with worker(store) as made:
        add(store, made, orphan)
        await store.until(lambda: bool(store.dead))

    assert receiver.received == []


async def test_messages_go_through_the_carriers(observer: Remembered) -> None:
    """A carrier that was not reached is tried again."""
    carriers = FakeCarriers(Delivery(error="not connected", may_retry=True), DELIVERED)
    store = MemoryStore()
    content = OutboxMessage(carrier="main", interaction_sid="KI1", sender="+15105550001", to="+14155550100", body="hi")

    async with worker(store, observer, carriers=carriers) as made:
        add(store, made, outbox_entry(content))
        await store.until(lambda: not store.pending)

    assert len(carriers.tried) == 2
    assert carriers.given_up == []
    assert observer.deliveries == [
        (OutboxKind.MESSAGE, DeliveryEnd.FAILED),
        (OutboxKind.MESSAGE, DeliveryEnd.DELIVERED),
    ]


async def test_an_entry_that_has_ended_with_its_message_is_not_ended_again(observer: Remembered) -> None:
    """It is on disk: the worker counts it and makes room."""
    store = MemoryStore()
    content = OutboxMessage(carrier="main", interaction_sid="KI1", sender="+15105550001", to="+14155550100", body="hi")

    async with worker(store, observer, carriers=FakeCarriers(SETTLED)) as made:
        add(store, made, outbox_entry(content))
        await until(lambda: not made.held)

    assert store.groups == []
    assert observer.deliveries == [(OutboxKind.MESSAGE, DeliveryEnd.DELIVERED)]


async def test_what_a_destination_may_take_at_a_time_is_in_memory() -> None:
    """However small the window of the others is: else it would be read from disk again and again."""
    store, settings = MemoryStore(), replace(QUICK, window_per_destination=2)
    with receiving(lambda _: Reply(hangs=True)) as slow:
        wanted = {callback(slow.url, 1).destination: 40}

        async with worker(store, settings=settings, deliveries_to=wanted, grace=0) as made:
            add(store, made, *(callback(slow.url, number) for number in range(1, 81)))

            assert made.held == 80

    assert store.most_read == 0


async def test_a_message_that_may_have_been_taken_is_not_sent_again() -> None:
    """The carriers are told that this was the only try."""
    unsure = Delivery(error="no answer in time", may_be_taken=True)
    carriers, store = FakeCarriers(unsure), MemoryStore()
    content = OutboxMessage(carrier="main", interaction_sid="KI1", sender="+15105550001", to="+14155550100", body="hi")

    async with worker(store, carriers=carriers) as made:
        add(store, made, outbox_entry(content))
        await store.until(lambda: bool(store.dead))

    assert len(carriers.tried) == 1
    assert carriers.given_up == [unsure]


class BrokenCarriers(FakeCarriers):
    """Carriers with a bug."""

    async def deliver(self, entry: OutboxEntry, content: ToCarrier) -> Delivery:
        """Fail in a way that nobody foresaw."""
        raise ZeroDivisionError


async def test_a_bug_costs_one_entry_and_not_the_lane(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, its entry is set aside, the next one of the lane is delivered."""
    store = MemoryStore()
    first = outbox_entry(OutboxHangUp(carrier="main", call_sid="CA1"), 1, session=1)
    second = outbox_entry(OutboxHangUp(carrier="main", call_sid="CA2"), 2, session=1)

    async with worker(store, carriers=BrokenCarriers()) as made:
        add(store, made, first, second)
        await store.until(lambda: len(store.dead) == 2)

    assert "could not be handled" in caplog.text


class StoppingCarriers(FakeCarriers):
    """Carriers that give back what waits when they are stopped."""

    def __init__(self) -> None:
        super().__init__(Delivery(error="the server stops", may_retry=True))
        self.stopped = asyncio.Event()

    async def deliver(self, entry: OutboxEntry, content: ToCarrier) -> Delivery:
        """Wait for the end."""
        self.tried.append(entry)
        await self.stopped.wait()
        return self.answers[0]


async def test_what_a_stop_ends_is_no_try() -> None:
    """However often the server is started anew: the entry waits on disk as it was, its last try too."""
    store, carriers = MemoryStore(), StoppingCarriers()
    attempts = QUICK.carrier_tries - 1
    entry = outbox_entry(OutboxHangUp(carrier="main", call_sid="CA1"), 1, session=1, attempts=attempts)
    async with worker(store, carriers=carriers) as made:
        add(store, made, entry)
        await until(lambda: bool(carriers.tried))
        asyncio.get_running_loop().call_soon(carriers.stopped.set)  # once the stop has begun

    assert list(store.pending.values()) == [entry]
    assert store.dead == {}
    assert carriers.given_up == []


async def test_no_try_is_made_without_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first nor the next: the process that has the place by then makes them."""
    monkeypatch.setattr(outbox_worker, "LEASE_SECONDS", 0.001)
    looks: list[bool] = []
    is_held = False

    def lease() -> bool:
        looks.append(is_held)
        return is_held

    store, carriers = MemoryStore(), FakeCarriers(Delivery(error="busy", may_retry=True), DELIVERED)
    async with worker(store, carriers=carriers, lease=lease) as made:
        add(store, made, outbox_entry(OutboxHangUp(carrier="main", call_sid="CA1")))
        await until(lambda: len(looks) > 2)
        before = len(carriers.tried)
        is_held = True
        await store.until(lambda: not store.pending)

    assert (before, len(carriers.tried)) == (0, 2)


async def test_a_stop_does_not_wait_for_the_lease() -> None:
    """What waits for it stays on disk."""
    store, carriers = MemoryStore(), FakeCarriers(DELIVERED)

    async with worker(store, carriers=carriers, lease=lambda: False) as made:
        add(store, made, outbox_entry(OutboxHangUp(carrier="main", call_sid="CA1")))
        await until(lambda: made.held == 1)

    assert (carriers.tried, len(store.pending)) == ([], 1)
