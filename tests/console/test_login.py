"""Who is let in, how, for how long, and who is not."""

import re
from collections import Counter

import pytest

from engine.console.app import PRIVATE
from engine.console.settings import ConsoleSettings
from engine.core.model.records import Account
from engine.core.model.requests import TokenRotation
from engine.core.ports.observing import LoginEnd
from tests.console.fakes import Console, add_account, make_console

pytestmark = pytest.mark.anyio

PAGES = [path.replace("{sid}", "KC" + "0" * 32) for path in PRIVATE]


@pytest.mark.parametrize("path", PAGES)
async def test_nobody_sees_a_page_without_logging_in(console: Console, path: str) -> None:
    """Pages lead to the login; the script is told so; a form changes nothing."""
    screen = console.screen()

    got, posted = await screen.get(path), await screen.http.post(f"/console{path}", data={"csrf": ""})

    assert {got.status_code, posted.status_code} <= {303, 401, 405}
    assert "ride-1" not in got.text + posted.text
    if got.status_code == 303:
        assert got.next_request is not None
        assert got.next_request.url.path == "/console/login"


async def test_an_account_logs_in_with_its_token_and_with_a_key(console: Console, account: Account) -> None:
    """Both are sent to the overview, which then says whose it is."""
    key, secret = await console.control.create_api_key(account.sid, "on call")

    for username, password in ((account.sid, account.auth_token), (key.sid, f" {secret} ")):
        screen = console.screen()
        sent = await screen.log_in(username, password)
        assert sent.next_request is not None
        page = await screen.http.send(sent.next_request)

        assert (sent.status_code, page.status_code, page.url.path) == (303, 200, "/console")
        assert "Rides Ltd" in page.text


@pytest.mark.parametrize(("username", "password"), [("AC" + "a" * 32, "wrong"), ("", ""), ("x", "y"), ("AC" * 99, "")])
async def test_wrong_credentials_are_refused_and_not_repeated(
    console: Console, account: Account, username: str, password: str
) -> None:
    """The page says what is wanted; it does not show what was typed."""
    screen = console.screen()

    refused = await screen.log_in(username, password)

    assert refused.status_code == 403
    assert "not the SID and token" in refused.text
    assert (await screen.get()).status_code == 303
    assert account.sid not in refused.text


async def test_the_cookie_is_kept_from_scripts_and_other_sites(account: Account, console: Console) -> None:
    """HttpOnly, SameSite=Strict, without a domain or path; Secure where people come over https."""
    secure = make_console(ConsoleSettings(is_secure=True, requests_per_second=0))
    add_account(secure, "a")

    plain = await console.screen().log_in(account.sid, account.auth_token)
    tls = await secure.screen(base="https://masks.test").log_in(account.sid, account.auth_token)

    for response, attributes in ((plain, "HttpOnly; SameSite=Strict"), (tls, "HttpOnly; SameSite=Strict; Secure")):
        kept, forgotten = response.headers.get_list("set-cookie")
        assert kept.startswith("maskline_console=0.token")
        assert kept.partition("; ")[2] == attributes
        assert forgotten.endswith("Max-Age=0")


@pytest.mark.parametrize("form", ["", "made-up"])
async def test_a_login_that_another_site_sends_is_refused(console: Console, account: Account, form: str) -> None:
    """It has no cookie, or a form without the cookie's secret."""
    stranger, victim = console.screen(), console.screen()
    await victim.get("/login")
    fields = {"username": account.sid, "password": account.auth_token, "form": form}

    refused = [await screen.http.post("/console/login", data=fields) for screen in (stranger, victim)]

    assert [one.status_code for one in refused] == [403, 403]
    assert all("expired" in one.text for one in refused)


@pytest.mark.parametrize(
    "known", ["short", '"a\\015\\012Set-Cookie: b=c\\073 Path=/ 12345"', "x" * 500, '"\\042><script>"']
)
async def test_a_form_secret_that_is_not_ours_is_replaced(console: Console, known: str) -> None:
    """It would end up in a header and in the page."""
    response = await console.screen().http.get("/console/login", headers={"cookie": f"maskline_console_form={known}"})

    (kept,) = response.headers.get_list("set-cookie")
    assert re.fullmatch(r"maskline_console_form=[\w-]{32}; HttpOnly; SameSite=Strict", kept)


@pytest.mark.parametrize("path", ["/search", "/explain", "/logout"])
async def test_a_form_that_was_not_made_for_the_login_is_refused(console: Console, account: Account, path: str) -> None:
    """Nothing is searched, and the login session goes on."""
    screen = await console.screen_of(account)
    fields = {"csrf": "csrf0", "text": "ride-1", "proxy": "+12125551000", "sender": "+14155550110"}

    refused = await screen.http.post(f"/console{path}", data=fields)

    assert refused.status_code == 403
    assert (await screen.get()).status_code == 200


async def test_logging_out_ends_the_login(console: Console, account: Account) -> None:
    """The cookie is forgotten, and would be of no use to a thief."""
    screen = await console.screen_of(account)
    stolen = screen.http.cookies["maskline_console"]
    csrf = next(iter(console.plane.logins._entries.values())).login.csrf

    left = await screen.http.post("/console/logout", data={"csrf": csrf})
    thief = console.screen()
    thief.http.cookies.set("maskline_console", stolen)

    assert left.status_code == 303
    assert (await thief.get()).status_code == (await screen.get()).status_code == 303


async def test_a_login_ends_when_its_token_or_its_account_is_good_no_more(console: Console, account: Account) -> None:
    """Not while two tokens are good; a disabled account's ends at once, and is not taken up again."""
    screen = await console.screen_of(account)
    await console.control.rotate_token(account.sid, TokenRotation())
    during = (await screen.get()).status_code
    fresh = (await console.control.end_previous_token(account.sid)).auth_token
    after = (await screen.get()).status_code

    newer = console.screen()
    await newer.log_in(account.sid, fresh)
    with_the_new_one = (await newer.get()).status_code
    await console.control.enable_account(account.sid, is_enabled=False)
    disabled = (await newer.get()).status_code
    refused = (await console.screen().log_in(account.sid, fresh)).status_code

    assert (during, after, with_the_new_one, disabled, refused) == (200, 303, 200, 303, 403)


async def test_a_login_ends_with_the_key_that_opened_it(console: Console, account: Account) -> None:
    """And with its account."""
    key, secret = await console.control.create_api_key(account.sid, "on call")
    screen, other = console.screen(), await console.screen_of(account)
    await screen.log_in(key.sid, secret)
    assert (await screen.get()).status_code == 200

    await console.control.revoke_api_key(key.sid)
    assert (await screen.get()).status_code == 303
    assert (await other.get()).status_code == 200
    del console.control.accounts_by_sid[account.sid]
    assert (await other.get()).status_code == 303


async def test_a_page_left_open_keeps_no_login_alive(console: Console, account: Account) -> None:
    """The script's requests and the page's own reload do not count as activity."""
    screen = await console.screen_of(account)

    for _ in range(5):
        console.clock.now += 350
        assert (await screen.get("/live")).status_code == 200
        assert (await screen.get("?auto=1")).status_code == 200
    console.clock.now += 50

    assert (await screen.get("/live")).status_code == 401
    assert (await screen.get()).status_code == 303


async def test_somebody_active_stays_for_twelve_hours(console: Console, account: Account) -> None:
    """And no longer."""
    screen = await console.screen_of(account)

    statuses = []
    for _ in range(44):
        console.clock.now += 1_000
        statuses.append((await screen.get("/events")).status_code)

    assert statuses == [200] * 43 + [303]


async def test_a_source_that_fails_too_often_has_to_wait(account: Account, console: Console) -> None:
    """Right credentials too; other sources and login sessions that have begun do not."""
    inside, guesser = await console.screen_of(account), console.screen(source="198.51.100.7")

    statuses = [(await guesser.log_in(account.sid, str(place))).status_code for place in range(11)]
    waiting = await guesser.log_in(account.sid, account.auth_token)
    elsewhere = await console.screen(source="198.51.100.8").log_in(account.sid, account.auth_token)
    console.monotonic.now += 300
    later = await guesser.log_in(account.sid, account.auth_token)

    assert statuses == [403] * 10 + [429]
    assert (waiting.status_code, waiting.headers["retry-after"]) == (429, "300")
    assert (elsewhere.status_code, later.status_code, (await inside.get()).status_code) == (303, 303, 200)


async def test_all_sources_together_may_not_fail_without_end(account: Account, console: Console) -> None:
    """Whoever has the operator's link comes in none the less."""
    statuses = {
        (await console.screen(source=f"198.51.{place}.1").log_in(account.sid, "wrong")).status_code
        for place in range(200)
    }

    refused = await console.screen().log_in(account.sid, account.auth_token)
    operator = await console.operators_screen()

    assert statuses == {403}
    assert refused.status_code == 429
    assert (await operator.get()).status_code == 200


async def test_attempts_to_log_in_are_counted_by_how_they_end(account: Account, console: Console) -> None:
    """Those that are held back too, and a link that was used; forms that another site sent are none."""
    guesser = console.screen(source="198.51.100.7")
    for _ in range(11):
        await guesser.log_in(account.sid, "wrong")
    code = await console.plane.offer_link()
    await console.screen().submit(f"/open?code={code}", code=code)
    await console.screen().submit("/open", code=code)
    await console.screen_of(account)
    await guesser.http.post("/console/login", data={"username": account.sid, "password": account.auth_token})

    counts = Counter(console.observer.logins)

    assert counts == {LoginEnd.REFUSED: 11, LoginEnd.HELD_BACK: 1, LoginEnd.IN: 2}


async def test_every_answer_is_counted_by_its_status(account: Account, console: Console) -> None:
    """Of pages that there are not, too."""
    screen = await console.screen_of(account)
    before = console.observer.statuses.copy()
    for path in ("", "", "/static/console.css", "/nowhere", "/login/nowhere"):
        await screen.get(path)
    console.is_ready[0] = False
    await screen.get()

    assert console.observer.statuses - before == {200: 3, 404: 2, 503: 1}


async def test_the_operators_link_opens_all_accounts_once(console: Console, account: Account) -> None:
    """Looking at it, as a preview does, does not use it up."""
    other = add_account(console, "b", "Clinic & Sons")
    code = await console.plane.offer_link()
    first, second = console.screen(), console.screen()

    looks = [(await first.get(f"/open?code={code}")).status_code for _ in range(3)]
    entered = await first.submit(f"/open?code={code}", code=code)
    again = await second.submit("/open", code=code)

    assert looks == [200] * 3
    assert (entered.status_code, again.status_code) == (303, 403)
    assert "operator, all accounts" in (await first.get()).text
    assert {account.sid, other.sid} == set(console.control.accounts_by_sid)


async def test_a_link_is_good_for_five_minutes(console: Console) -> None:
    """Then another is to be asked for."""
    code = await console.plane.offer_link()
    console.clock.now += 300

    late = await console.screen().submit("/open", code=code)

    assert late.status_code == 403
    assert "expired" in late.text


async def test_somebody_who_asks_too_much_has_to_wait(account: Account) -> None:
    """Ten requests a second on average over five; others are not held up."""
    console = make_console(ConsoleSettings())
    add_account(console, "a")
    busy, calm = await console.screen_of(account), await console.screen_of(account)

    statuses = [(await busy.get("/events")).status_code for _ in range(51)]

    assert statuses == [200] * 50 + [429]
    assert (await calm.get("/events")).status_code == 200
