"""Traffic of every kind for the metrics to show: what is routed, refused, asked, owed, lost, and who asks too much."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.channels.sip.messages import invite
from tests.e2e.application import GATE, OUTSIDE, TOLD, Application
from tests.e2e.carrier import resource_sid
from tests.e2e.feed import Feed
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Pairing, Service, Tenant, client, new_tenant, person, written
from tests.outbound.receiver import Reply

NOBODY = "http://127.0.0.1:9/told"
"""A receiver that is not there."""

ROUND_SECONDS = 0.15
"""Between two rounds of a worker."""

LIMITED_EVERY = 40
"""Rounds between two bursts that the rate limit ends."""

SIP_SECONDS = 10.0
"""Bound on the wait for an answer."""

BURST = 400
"""Requests of such a burst."""


class Traffic:
    """A few workers, each a customer with its own service, until it is stopped."""

    def __init__(self, server: LiveServer, application: Application, *, sip_port: int) -> None:
        """Provision the services and begin."""
        self.failures: list[BaseException] = []
        self._server = server
        self._stop = threading.Event()
        application.answers(GATE, *[Reply()] * 6, Reply(status=403), Reply(status=500), Reply())
        application.answers(OUTSIDE, Reply())
        application.answers(TOLD, *[Reply()] * 30, Reply(status=500), Reply())
        workers: list[Callable[[Tenant, ExitStack], Callable[[int], None]]] = [
            lambda tenant, _: _rides(
                tenant, tenant.service(numbers=40, UniqueName="rides", CallbackUrl=application.url(TOLD))
            ),
            lambda tenant, _: _shops(tenant, tenant.service(numbers=4, UniqueName="shops", **application.hooks)),
            lambda tenant, _: _clinics(tenant, tenant.service(numbers=3, UniqueName="clinics", CallbackUrl=NOBODY)),
        ]
        workers.append(lambda tenant, stack: _carrier(tenant, tenant.service(numbers=2, UniqueName="carrier"), stack))
        workers.append(
            lambda tenant, stack: _switch(tenant, tenant.service(numbers=2, UniqueName="switch"), stack, sip_port)
        )
        self._threads = [threading.Thread(target=self._work, args=(begin,)) for begin in workers]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and raise what went wrong."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _work(self, begin: Callable[[Tenant, ExitStack], Callable[[int], None]]) -> None:
        tenant = new_tenant(self._server)
        try:
            with ExitStack() as stack:
                play, number = begin(tenant, stack), 0
                while not self._stop.wait(ROUND_SECONDS):
                    play(number)
                    number += 1
        except BaseException as failure:  # noqa: BLE001 - told to whoever stops the traffic
            self.failures.append(failure)
        finally:
            tenant.close()


@contextmanager
def traffic_on(server: LiveServer, application: Application, *, sip_port: int) -> Iterator[None]:
    """Have traffic while the context lasts; what went wrong in it is raised at the end."""
    traffic = Traffic(server, application, sip_port=sip_port)
    try:
        yield
    finally:
        traffic.stop()


def _rides(tenant: Tenant, service: Service) -> Callable[[int], None]:
    """Play many short sessions, and one driver who takes more and more rides and closes none."""
    driver, chosen = person(), random.Random(1)  # noqa: S311 - repeatable

    def play(number: int) -> None:
        pairing = service.pairing()
        for sender, reached in pairing.sides * 3:
            talk(tenant, sender.identifier, sender.proxy, is_call=chosen.random() < 0.5)
            if chosen.random() < 0.2:
                talk(tenant, reached.identifier, sender.proxy, is_call=True)
        if number % 3:
            tenant.update(pairing.path, Status="closed")
        if number % 5 == 0:
            tenant.delete(pairing.path)
        if number % 12 == 0:
            tenant.http.post(f"{service.path}/Sessions", data=written({"Participants": [_participant(driver)]}))
        if number % LIMITED_EVERY == 0:
            ask_too_often(tenant)

    return play


def _shops(tenant: Tenant, service: Service) -> Callable[[int], None]:
    """Play messages behind a gate, strangers whom the application answers, and sessions that expire."""

    def play(number: int) -> None:
        pairing = service.pairing(Ttl=1 + number % 3)
        for sender, _ in pairing.sides:
            talk(tenant, sender.identifier, sender.proxy, is_call=False)
        talk(tenant, person(), service.pool[0], is_call=number % 2 == 0)
        tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "STOP")

    return play


def _clinics(tenant: Tenant, service: Service) -> Callable[[int], None]:
    """Play what goes wrong: nobody takes the callbacks, pairs are taken, the pool is empty, signatures are forged."""
    busy = person()

    def play(number: int) -> None:
        pairing = service.pairing()
        talk(tenant, pairing.first.identifier, pairing.first.proxy, is_call=True)
        if number % 4 == 0:
            tenant.http.post(f"{service.path}/Sessions", data=written({"Participants": [_participant(busy)]}))
        if number % 6 == 0:
            _ask_for_what_is_taken(tenant, service, pairing)
        if number % 5 == 0:
            talk(tenant, person(), "+12125550000", is_call=True)
            tenant.carrier.post("/inbound/voice", {"To": service.pool[0], "From": person()}, signature="forged")
        if number % 7 == 0:
            tenant.http.get("/Services/KS" + "0" * 32)
            tenant.carrier.report("/inbound/status", CallSid=resource_sid("CA"), CallStatus="completed")
        tenant.update(pairing.path, Status="closed")

    return play


def _carrier(tenant: Tenant, service: Service, stack: ExitStack) -> Callable[[int], None]:
    """Play a carrier on the feed: frames of calls, texts, questions and mistakes, and a wrong key at times."""
    pairing = service.pairing()
    sender, proxy = pairing.first.identifier, pairing.first.proxy
    feed = stack.enter_context(Feed(tenant.server.feed, tenant.sid, tenant.token))

    def play(number: int) -> None:
        questions: list[list[object]] = [
            ["resolve", "call", sender if turn % 4 else person(), proxy] for turn in range(64)
        ]
        sids = [resource_sid("CA") for _ in range(8)]
        calls: list[list[object]] = [["call", sender, proxy, sid] for sid in sids]
        ends: list[list[object]] = [["status", "call", "inbound", sid, "completed", proxy] for sid in sids]
        texts: list[list[object]] = [["message", sender, proxy, resource_sid("SM"), "hello"] for _ in range(4)]
        stranger: list[object] = ["call", person(), proxy, resource_sid("CA")]
        feed.decide(*questions)
        feed.decide(*calls, *texts, stranger, stranger[:3])
        feed.decide(*ends)
        if number % 10 == 0:
            with Feed(tenant.server.feed, tenant.sid, "guessed"):
                pass

    return play


def _switch(tenant: Tenant, service: Service, stack: ExitStack, sip_port: int) -> Callable[[int], None]:
    """Play a switch over SIP: it looks who is there, asks where calls go, of strangers too, and at times asks again."""
    pairing = service.pairing()
    line = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    line.settimeout(SIP_SECONDS)
    line.connect(("127.0.0.1", sip_port))

    def play(number: int) -> None:
        for sender in (pairing.first.identifier, person()):
            asked = _sip("INVITE", sender, pairing.first.proxy, call_id=f"{number}-{sender[1:]}@switch")
            for _ in range(1 + (number % 10 == 0)):
                line.send(asked)
                line.recv(65_536)
        line.send(_sip("OPTIONS", sender, pairing.first.proxy, call_id=f"{number}@switch"))
        line.recv(65_536)

    return play


def _sip(method: str, sender: str, proxy: str, *, call_id: str) -> bytes:
    return invite(
        f"Via: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK-{call_id}-{method}".encode(),
        f"From: <sip:{sender}@carrier.example>;tag=1".encode(),
        f"To: <sip:{proxy}@engine.example>".encode(),
        f"Call-ID: {call_id}".encode(),
        f"CSeq: 1 {method}".encode(),
        start=f"{method} sip:{proxy}@engine.example SIP/2.0".encode(),
    )


def talk(tenant: Tenant, sender: str, proxy: str, *, is_call: bool) -> None:
    """Let somebody call or text a number; a call that is routed ends at once."""
    if not is_call:
        tenant.carrier.message(sender, proxy)
        return
    sid = resource_sid("CA")
    if tenant.carrier.call(sender, proxy, sid=sid).reached is not None:
        tenant.carrier.report("/inbound/status", CallSid=sid, CallStatus="completed", CallDuration="3")


def ask_too_often(tenant: Tenant) -> None:
    """Ask until the rate limit ends it, over a connection of its own."""
    with client(tenant.server.address, tenant.sid, tenant.token) as http:
        until = time.monotonic() + 10
        for _ in range(BURST):
            if http.get("/Services").status_code == 429 or time.monotonic() > until:
                return


def _ask_for_what_is_taken(tenant: Tenant, service: Service, pairing: Pairing) -> None:
    taken = _participant(pairing.first.identifier, pairing.first.proxy)
    tenant.http.post(f"{service.path}/Sessions", data=written({"Participants": [taken]}))
    tenant.http.post(f"{pairing.path}/Participants", data={"Identifier": person()})
    tenant.http.post(f"{service.path}/Sessions/{pairing.sid}x", data={"Ttl": "5"})


def _participant(identifier: str, proxy: str = "") -> str:
    wanted = f', "ProxyIdentifier": "{proxy}"' if proxy else ""
    return f'{{"Identifier": "{identifier}"{wanted}}}'
