"""Every answer: its headers, its limits, and what it is when something is wrong."""

import re
from collections.abc import Callable

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Router

from engine.console.app import PRIVATE, PUBLIC, console_routes
from engine.console.http import HEADERS
from engine.console.pages import STATIC
from engine.core.model.errors import ApiError, Code, PeerUnavailable, StoreUnavailable
from engine.core.model.overview import HostStatus
from engine.core.model.records import Account
from engine.core.ports.lists import AlertFilter, OutboxFilter, Page, PageCursor
from tests.api.fake_control import NOW
from tests.console.fakes import Console, Screen, furnish, make_console

pytestmark = pytest.mark.anyio

STATIC_PATHS = [f"/static/{path.name}" for path in STATIC.iterdir()]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
ODD_PATHS = ("/", "/nothing", "/static/../app.py", "/static/", "//", "/sessions", "/sessions/", "/events/%2e%2e", "/é")


HARDENING = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@pytest.mark.parametrize(
    ("asked", "accept", "location"),
    [
        ("GET /", "text/html,application/xhtml+xml,*/*;q=0.8", "console"),
        ("HEAD /", "text/html", "console"),
        ("GET /", "application/json", None),
        ("GET /", "*/*", None),
        ("POST /", "text/html", None),
        ("GET /other", "text/html", None),
    ],
)
async def test_a_browser_that_names_no_page_is_led_to_the_console(
    console: Console, asked: str, accept: str, location: str | None
) -> None:
    """By a relative link, which a proxy's prefix does not spoil; whoever looks for no page gets what was there."""
    app = Router(console_routes(console.app))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        answer = await client.request(*asked.split(), headers={"accept": accept})

    assert answer.status_code == (303 if location else 404)
    assert answer.headers.get("location") == location


@pytest.mark.parametrize("path", [*PUBLIC, *PRIVATE, *STATIC_PATHS, *ODD_PATHS])
async def test_every_answer_has_the_headers_of_all(console: Console, account: Account, path: str) -> None:
    """Whatever is asked for, and however; nothing of it is an error of ours."""
    inside, outside = await console.screen_of(account), console.screen()

    for screen in (inside, outside):
        for method in METHODS:
            if (method, path) != ("POST", "/logout"):
                response = await screen.http.request(method, f"/console{path.replace('{sid}', 'KC1')}")

                assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
                assert {name: response.headers.get(name) for name in HARDENING} == HARDENING
                assert response.status_code in {200, 303, 400, 401, 403, 404, 405, 415}, (method, response.text)


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    """No inline script or style, no frame, no other origin."""
    policy = dict(one.strip().split(" ", 1) for one in HEADERS["content-security-policy"].split(";"))

    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {value for name, value in policy.items() if name != "default-src"} <= {"'none'", "'self'"}


async def test_no_page_has_anything_inline(console: Console, account: Account) -> None:
    """The policy would keep it from working."""
    held = await furnish(console, account)
    screen = await console.screen_of(account)

    for path in ("/login", "/open", "", "/search", "/explain", "/events", "/outbox", *held.paths):
        text = (await screen.get(path)).text
        assert re.findall(r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text) == []
        assert re.findall(r'(?:src|href|action)="(?:[a-z]+:|//)', text) == []


@pytest.mark.parametrize("path", [*PUBLIC, *PRIVATE])
async def test_what_is_not_allowed_says_what_is(console: Console, account: Account, path: str) -> None:
    """GET brings HEAD along."""
    screen = await console.screen_of(account)

    refused = await screen.http.put(f"/console{path}")

    allowed = {**PUBLIC, **PRIVATE}[path]
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {*allowed, *({"HEAD"} if "GET" in allowed else ())}


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"a=" + b"b" * 5_000, "application/x-www-form-urlencoded", 413),
        (b"a=%ff", "application/x-www-form-urlencoded; charset=utf-8", 400),
        (b"&".join(b"a=b" for _ in range(20)), "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"", "", 415),
    ],
)
async def test_a_form_that_is_none_is_refused(console: Console, content: bytes, media_type: str, status: int) -> None:
    """Before anything is looked up."""
    refused = await console.screen().http.post(
        "/console/login", content=content, headers={"content-type": media_type} if media_type else {}
    )

    assert refused.status_code == status
    assert "<h1>" in refused.text


@given(st.binary(max_size=300))
async def test_no_bytes_are_too_odd_for_a_form(content: bytes) -> None:
    """They are refused, not failed on."""
    headers = {"content-type": "application/x-www-form-urlencoded"}

    response = await make_console().screen().http.post("/console/login", content=content, headers=headers)

    assert response.status_code in {400, 403, 413}


async def test_what_people_wrote_is_never_markup(console: Console, account: Account) -> None:
    """Names, errors and messages are escaped wherever they are shown."""
    evil = """<script>alert('x')</script>"' onload="y"""
    held = await furnish(console, account, name=evil, text=evil)
    screen = await console.operators_screen()

    for path in ("", "/events", "/outbox", *held.paths):
        text = (await screen.get(path)).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text or path == "/outbox" or "onload=" not in text


@pytest.mark.parametrize("path", ["", "/", "/login", "/events", "/sessions/KC1", "/nothing", "/a/b/c"])
async def test_links_work_below_any_prefix(console: Console, account: Account, path: str) -> None:
    """A proxy may put the console wherever it likes: every reference is relative to the page."""
    screen = await console.screen_of(account)
    response = await screen.get(path)
    base = response.request.url.copy_with(raw_path=b"/some/prefix" + response.request.url.raw_path)
    found = re.findall(r'(?:src|href|action)="([^"]*)"', response.text)
    found += [response.headers["location"]] if "location" in response.headers else []

    reached = {base.join(one).path for one in found if not one.startswith("#")}

    assert reached
    assert all(one == "/some/prefix/console" or one.startswith("/some/prefix/console/") for one in reached)


async def test_a_host_that_is_silent_is_named_on_every_page(console: Console, account: Account) -> None:
    """The rest of the page is shown."""
    held = await furnish(console, account)
    console.plane.silent = ("host-1",)
    console.plane.statuses = (*console.plane.statuses, HostStatus(name="host-1", is_answering=False))
    partial = console.control.alerts_page, console.control.outbox_page

    async def alerts_page(account_sid: str | None, wanted: AlertFilter, cursor: PageCursor) -> Page[object]:
        page = await partial[0](account_sid, wanted, cursor)
        assert cursor.is_part_enough
        return Page(page.records, has_next=False, has_previous=False, silent=("host-1",))

    async def outbox_page(wanted: OutboxFilter, cursor: PageCursor) -> Page[object]:
        page = await partial[1](wanted, cursor)
        assert cursor.is_part_enough
        return Page(page.records, has_next=False, has_previous=False, silent=("host-1",))

    console.control.alerts_page = alerts_page  # type: ignore[assignment, method-assign]
    console.control.outbox_page = outbox_page  # type: ignore[assignment, method-assign]
    screen = await console.screen_of(account)

    pages = {path: (await screen.get(path)).text for path in ("", "/live", "/events", "/outbox", held.paths[1])}
    found = (await screen.submit("/search", text="ride-1")).text

    assert all("host-1 does not answer" in text for text in (*pages.values(), found))
    assert held.session.sid in found
    assert held.event.sid in pages["/events"]
    assert held.service.sid in pages[""]


Break = Callable[[Console, Exception], None]


def breaks(name: str) -> Break:
    """Make a method of the control plane fail."""

    def break_it(console: Console, problem: Exception) -> None:
        async def fail(*_: object, **__: object) -> None:
            raise problem

        setattr(console.control, name, fail)

    return break_it


@pytest.mark.parametrize("problem", [PeerUnavailable("host-1 is down"), StoreUnavailable("disk I/O error")])
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("alerts_page", "Hosts"),
        ("sessions_page", "Pool"),
        ("pool_page", "Sessions"),
        ("interactions_page", "Participants"),
        ("outbox_page", "Participants"),
    ],
)
async def test_a_part_that_cannot_be_had_leaves_the_others(
    console: Console, account: Account, problem: Exception, *, method: str, rest: str
) -> None:
    """With the reason where it would be."""
    held = await furnish(console, account)
    screen = await console.screen_of(account)
    breaks(method)(console, problem)

    page = await screen.get({"Hosts": "", "Participants": held.paths[1]}.get(rest, held.paths[0]))

    assert page.status_code == 200
    assert "Not to be had now" in page.text
    assert f">{rest}</h2>" in page.text


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (PeerUnavailable("host-1 is down"), 503),
        (StoreUnavailable("disk I/O error"), 500),
        (ApiError(Code.INVALID_PARAMETER, "not +14155550110"), 400),
        (ZeroDivisionError("secret detail"), 500),
    ],
)
async def test_a_page_that_cannot_be_had_says_why(
    console: Console, account: Account, problem: Exception, status: int
) -> None:
    """An error of ours is in the log, not on the page."""
    held = await furnish(console, account)
    screen = await console.screen_of(account)
    breaks("find_session")(console, problem)

    page = await screen.get(held.paths[1])

    assert page.status_code == status
    assert "<h1>" in page.text
    assert "secret detail" not in page.text
    assert "+14155550110" not in page.text


async def test_while_the_engine_starts_pages_say_so(console: Console) -> None:
    """And when to come again."""
    console.is_ready[0] = False

    page = await console.screen().get()

    assert (page.status_code, page.headers["retry-after"]) == (503, "1")
    assert "starting" in page.text


async def test_the_hosts_are_read_once_for_all_who_look(console: Console, account: Account) -> None:
    """Within a second."""
    screens: list[Screen] = [await console.screen_of(account) for _ in range(3)]

    for screen in screens:
        await screen.get("/live")
    before = console.plane.readings
    console.monotonic.now += 1
    await screens[0].get("/live")

    assert (before, console.plane.readings) == (1, 2)


async def test_nobody_waits_for_the_reading_of_another(console: Console, account: Account) -> None:
    """Those who ask while a silent host holds one up are all served by that one."""
    screen = await console.screen_of(account)
    reading = console.plane.hosts

    async def slowly() -> tuple[HostStatus, ...]:
        await anyio.lowlevel.checkpoint()
        console.monotonic.now += 2
        return await reading()

    console.plane.hosts = slowly  # type: ignore[method-assign]
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(screen.get, "/live")

    assert console.plane.readings == 1


async def test_lists_are_turned_page_by_page(console: Console, account: Account) -> None:
    """Forward and back; what is no SID begins at the start."""
    held = [await furnish(console, account, name=f"ride-{place}") for place in range(30)]
    screen = await console.screen_of(account)

    first = (await screen.get("/events")).text
    (onward,) = re.findall(r'rel="next" href="events(\?after=[^"]*)"', first)
    second = (await screen.get(f"/events{onward}")).text
    (back,) = re.findall(r'rel="prev" href="events(\?before=[^"]*)"', second)

    shown = [[one.event.sid for one in held if one.event.sid in page] for page in (first, second)]
    assert [len(one) for one in shown] == [25, 5]
    assert set(shown[0]).isdisjoint(shown[1])
    assert (await screen.get(f"/events{back}")).text.count("/events/NO") == 25
    assert (await screen.get("/events?after=%00nonsense")).text.count("/events/NO") == 25


async def test_a_sid_that_is_searched_leads_to_its_page(console: Console, account: Account) -> None:
    """Of a session, a service, an event or an interaction."""
    held = await furnish(console, account)
    screen = await console.screen_of(account)

    sids = (held.service.sid, held.session.sid, held.event.sid, held.interaction.sid)
    for sid, path in zip(sids, held.paths[:4], strict=True):
        sent = await screen.submit("/search", text=f" {sid} ")
        assert sent.next_request is not None
        assert sent.next_request.url.path == f"/console{path}"


async def test_a_search_that_left_out_older_sessions_says_so_and_offers_them(
    console: Console, account: Account
) -> None:
    """With the box ticked all are looked at; the digits are not in the page that offers it."""
    await furnish(console, account)
    console.plane.looked_back_to = NOW - 60
    screen = await console.screen_of(account)

    brief = (await screen.submit("/search", text="0110")).text
    thorough = (await screen.submit("/search", text="0110", thorough="yes")).text

    assert "not all were looked at" in brief
    assert 'name="thorough"' in brief
    assert "0110" not in re.sub(r"[A-Z]{2}[0-9a-f]{32}", "", brief)
    assert "There may be more" not in thorough
    assert 'name="thorough"' not in thorough
    assert "1 session" in thorough
