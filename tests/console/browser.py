"""The console in a real browser: opened, searched, looked at on screens wide, narrow and dark, and by keyboard alone.

Not part of `make test`: `make console-test` installs Chromium where it is missing and runs this. The pictures are kept
below `build/console`.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.console.furnished import Furnished, furnished
from tests.console.webdriver import ENTER, TAB, Browser, browsing
from tests.e2e.application import eventually
from tests.e2e.carrier import resource_sid

PICTURES = Path(__file__).parents[2] / "build" / "console"

AXE = Path(__file__).parents[2] / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"

WIDE, NARROW, NARROWEST = (1280, 900), (390, 844), (360, 740)

FIRST_SCREENS = ((1280, 800), NARROW)

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """Serve something to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with furnished(tmp_path_factory.mktemp("console") / "data") as found:
        yield found


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """Open a browser; at the end it must have nothing to complain of."""
    with browsing(tmp_path / "profile") as browser:
        yield browser
        assert browser.log() == []


def enter(browser: Browser, furniture: Furnished) -> None:
    """Come in by the operator's link."""
    browser.go(furniture.server.admin("POST", "/console/links")["url"])
    browser.click("main button")
    browser.run_until("document.querySelector('#hosts')")


def log_in(browser: Browser, furniture: Furnished) -> None:
    """Come in with an account's credentials."""
    browser.go(f"{furniture.server.address}/console")
    browser.write("#username", furniture.tenant.sid)
    browser.write("#password", furniture.tenant.token + ENTER)
    browser.run_until("document.querySelector('#pools')")


def pages(furniture: Furnished) -> dict[str, str]:
    """Return the address of each kind of page, by a name."""
    event = furniture.tenant.everything("/Alerts", "alerts")[0]["sid"]
    session = f"/Services/{furniture.service.sid}/Sessions/{furniture.pairing.sid}"
    passed = furniture.tenant.everything(f"{session}/Interactions", "interactions")[0]["sid"]
    parcels = next(
        one["sid"] for one in furniture.tenant.everything("/Services", "services") if one["unique_name"] == "parcels"
    )
    below = {
        "overview": "",
        "traffic": "/traffic",
        "peers": "/peers",
        "search": "/search",
        "explain": "/explain",
        "events": "/events",
        "event": f"/events/{event}",
        "outbox": "/outbox",
        "service": f"/services/{furniture.service.sid}",
        "unused": f"/services/{parcels}/unused",
        "session": f"/sessions/{furniture.pairing.sid}",
        "interaction": f"/interactions/{passed}",
    }
    return {name: f"{furniture.server.address}/console{path}" for name, path in below.items()}


def test_somebody_on_call_finds_out_why(browser: Browser, furniture: Furnished) -> None:
    """Logs in, searches by a number, sees the session, asks why a stranger went nowhere, logs out."""
    log_in(browser, furniture)
    person = furniture.pairing.first
    assert "Rides Ltd" in browser.text("header")

    browser.click("nav a[href$=search]")
    browser.write("#text", person.identifier + ENTER)
    browser.run_until("document.querySelector('#found')")
    found, where = browser.text("main"), browser.url
    browser.shoot(PICTURES / "search-found.png")
    browser.click("section[aria-labelledby=found] td a")
    browser.run_until("document.querySelector('#people')")
    session = browser.text("main")
    browser.click("nav a[href$=explain]")
    browser.write("#sender", furniture.stranger)
    browser.write("#proxy", person.proxy + ENTER)
    browser.run_until("document.querySelector('#answer')")
    explanation = browser.text("main")
    browser.shoot(PICTURES / "explained.png")
    browser.click("header button")
    browser.run_until("document.querySelector('#username')")

    assert "1 session" in found
    assert furniture.pairing.sid in found
    assert "participant 1" in session
    assert "no active session pairs this sender with this number" in explanation
    for number in (person.identifier, furniture.pairing.second.identifier, furniture.stranger):
        assert not [text for text in (found, where, session, explanation) if number[1:] in text]
    assert browser.url.endswith("/console/login")


def test_a_call_is_found_by_the_carriers_sid(browser: Browser, furniture: Furnished) -> None:
    """And one that was refused, by the event about it."""
    enter(browser, furniture)
    tenant, person = furniture.tenant, furniture.pairing.first
    routed, refused = resource_sid("CA"), resource_sid("CA")
    tenant.carrier.call(person.identifier, person.proxy, sid=routed)
    tenant.carrier.call(furniture.stranger, person.proxy, sid=refused)

    browser.click("nav a[href$=search]")
    browser.write("#text", routed + ENTER)
    browser.run_until("document.querySelector('#calls')")
    browser.click("td a[href*=interactions]")
    browser.run_until("document.querySelector('#legs')")
    page = browser.text("main")
    browser.click("main form button")
    browser.run_until("document.querySelector('#answer ~ dl')")
    explained = browser.text("main")
    browser.shoot(PICTURES / "interaction-explained.png")
    assert eventually(lambda: any(one["resource_sid"] == refused for one in tenant.everything("/Alerts", "alerts")))
    browser.click("nav a[href$=search]")
    browser.write("#text", refused + ENTER)
    browser.run_until("document.querySelector('#about ~ table')")
    found = browser.text("main")
    browser.shoot(PICTURES / "refused-found.png")

    assert routed in page
    assert "active" in explained
    assert "0 calls and messages" in found
    assert "80902" in found
    for text in (page, explained, found):
        assert person.identifier[1:] not in text
        assert furniture.stranger[1:] not in text


def test_the_overview_keeps_itself_fresh(browser: Browser, furniture: Furnished) -> None:
    """Without a reload; not while it is paused."""
    enter(browser, furniture)
    count = "[...document.querySelectorAll('#outcomes ~ table tbody tr')][2].textContent"
    browser.run_until("document.querySelector('#live-state').textContent.includes('live')")
    before = browser.run(f"return {count}")
    browser.run("window.isTheSamePage = true")

    furniture.tenant.carrier.call(furniture.stranger, furniture.pairing.first.proxy)
    browser.run_until(f"{count} !== {before!r}")
    browser.run_until(f"!{count}.includes('…')")
    browser.click("#live-pause")
    paused = browser.run("return document.querySelector('#live-pause').getAttribute('aria-pressed')")

    assert browser.run("return window.isTheSamePage") is True
    assert paused == "true"


def test_a_page_that_is_not_fresh_says_so_in_red_and_to_screen_readers(browser: Browser, furniture: Furnished) -> None:
    """At the top, in an element with the role of an alert; the verdict is announced, and its links lead somewhere."""
    enter(browser, furniture)
    browser.run_until("document.querySelector('#live-state').textContent.includes('live')")
    announced = browser.text("#announcement")
    calm = browser.run("return document.querySelector('#stale').hidden")

    browser.click("#live-pause")
    browser.run("const real = Date.now.bind(Date); Date.now = () => real() + 60000")
    browser.run_until("!document.querySelector('#stale').hidden")
    said = browser.text("#stale")
    role = browser.run("return document.querySelector('#stale').getAttribute('role')")
    title = browser.title
    browser.shoot(PICTURES / "overview-stale.png")
    browser.click("#live-pause")
    browser.run_until("document.querySelector('#stale').hidden")
    browser.click(".findings a[href*='state=dead']")
    browser.run_until("document.querySelector('h1').textContent === 'Outbox'")

    assert "need attention" in announced
    assert calm is True
    assert said.startswith("These figures are old")
    assert role == "alert"
    assert title.startswith("old: ")


def test_times_are_shown_as_the_clock_on_the_wall_says(browser: Browser, furniture: Furnished) -> None:
    """If that is wanted; it stays so on other pages, in what is renewed and in charts, until UTC is wanted again."""
    browser.chrome("Emulation.setTimezoneOverride", timezoneId="Asia/Kolkata")
    enter(browser, furniture)
    first = "return document.querySelector('#events, #verdict').querySelector('time').textContent"
    before = browser.run(first)
    chart = browser.run("return document.querySelector('text[data-at]').textContent")

    browser.click("#local-times")
    after = browser.run(first)
    chart_after = browser.run("return document.querySelector('text[data-at]').textContent")
    browser.run("document.querySelector('#verdict').id = 'old'")
    browser.run_until("document.querySelector('#verdict')")
    renewed = browser.run(first)
    browser.go(f"{furniture.server.address}/console/outbox")
    footer = browser.text("footer")
    browser.click("#local-times")
    again = browser.text("footer")

    assert minutes_between(before, after) == minutes_between(before, renewed) == 330
    assert (int(chart_after[:2]) * 60 + int(chart_after[3:]) - int(chart[:2]) * 60 - int(chart[3:])) % 1440 == 330
    assert "Times are Asia/" in footer
    assert "Times are UTC" in again


def minutes_between(one: str, other: str) -> float:
    """Tell how many minutes lie between two times as pages write them."""
    return (datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds() / 60


def test_every_page_fits_screens_wide_narrow_and_dark(browser: Browser, furniture: Furnished) -> None:
    """Nothing is wider than the screen; a picture of each is kept to be looked at."""
    browser.go(f"{furniture.server.address}/console/login")
    browser.shoot(PICTURES / "login.png")
    enter(browser, furniture)

    looks = (
        ("wide", WIDE, False),
        ("narrow", NARROW, False),
        ("narrowest", NARROWEST, False),
        ("dark", WIDE, True),
        ("narrow-dark", NARROW, True),
    )
    for look, size, is_dark in looks:
        browser.resize(*size)
        browser.darken(is_dark=is_dark)
        for name, url in pages(furniture).items():
            browser.go(url)
            width = browser.run("return document.documentElement.scrollWidth")
            browser.shoot(PICTURES / f"{name}-{look}.png")
            assert width <= size[0], (name, look)


def test_the_first_screen_says_what_is_wrong_and_how_all_parts_fare(browser: Browser, furniture: Furnished) -> None:
    """Nobody has to scroll for the verdict and a line on traffic, outbox, pools and hosts, at a desk or on a phone."""
    enter(browser, furniture)

    for width, height in FIRST_SCREENS:
        browser.resize(width, height)
        browser.go(f"{furniture.server.address}/console")
        browser.run_until("document.querySelector('#live-state').textContent.includes('live')")
        said, glance = browser.text("#verdict"), browser.text("#glance")
        ends = browser.run("return document.querySelector('#glance').getBoundingClientRect().bottom")
        browser.shoot(PICTURES / f"first-screen-{width}.png", is_whole=False)

        assert "Deliveries were given up" in said
        assert "since " in said
        assert "dead letters" in glance
        assert "clinic: the busiest has 1 of 1" in glance
        assert "1 of 1 ready" in glance
        assert "1 of 3 peers well" in glance
        assert ends <= height, width


def test_what_was_opened_stays_open_and_keeps_the_focus(browser: Browser, furniture: Furnished) -> None:
    """By keyboard, while the overview renews itself; what is well is folded."""
    enter(browser, furniture)
    fold = "document.querySelector('#reasons-fold')"
    was_open = browser.run(f"return {fold}.open")

    browser.run(f"{fold}.firstElementChild.focus()")
    browser.press(ENTER)
    browser.run(f"{fold}.isOld = true")
    browser.run_until(f"!{fold}.isOld")

    assert was_open is False
    assert browser.run(f"return {fold}.open") is True
    assert browser.run(f"return document.activeElement === {fold}.firstElementChild") is True


def test_text_can_be_read_in_light_and_in_dark(browser: Browser, furniture: Furnished) -> None:
    """At least 4.5 to 1 between any text and what is behind it, as WCAG asks."""
    enter(browser, furniture)

    for is_dark in (False, True):
        browser.darken(is_dark=is_dark)
        for name, url in pages(furniture).items():
            browser.go(url)
            worst = browser.run(_CONTRAST)
            assert worst["ratio"] >= 4.5, (name, is_dark, worst)


def test_everything_is_reached_by_keyboard(browser: Browser, furniture: Furnished) -> None:
    """The first stop skips to the content; links, fields and buttons follow, each seen to have the focus."""
    enter(browser, furniture)
    browser.go(f"{furniture.server.address}/console/events")

    stops = []
    for _ in range(12):
        browser.press(TAB)
        stops.append(browser.run(_FOCUSED))
    browser.go(f"{furniture.server.address}/console/events")
    browser.press(TAB + ENTER)
    skipped = browser.run("return document.activeElement.id")

    assert [stop["text"] for stop in stops[:10]] == [
        "Skip to the content",
        "Maskline",
        "Overview",
        "Traffic",
        "Peers",
        "Search",
        "Explain",
        "Events",
        "Outbox",
        "Log out",
    ]
    assert all(stop["outline"] >= 2 for stop in stops)
    assert skipped == "main"


def test_screen_readers_are_told_what_is_what(browser: Browser, furniture: Furnished) -> None:
    """Landmarks, one heading of the page, labels of fields, captions and headers of tables: on a narrow screen too."""
    enter(browser, furniture)

    for size in (WIDE, NARROW):
        browser.resize(*size)
        for name, url in pages(furniture).items():
            browser.go(url)
            assert browser.run(_STRUCTURE) == [], (name, size)


def test_axe_finds_nothing_to_complain_of(browser: Browser, furniture: Furnished) -> None:
    """On every page, with tables opened, on screens wide and narrow, light and dark; a nameless button it sees."""
    enter(browser, furniture)
    axe, complaints = AXE.read_text("utf-8"), {}

    for size, is_dark in ((WIDE, False), (WIDE, True), (NARROW, False)):
        browser.resize(*size)
        browser.darken(is_dark=is_dark)
        for name, url in pages(furniture).items():
            browser.go(url)
            browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
            browser.run(axe)
            found = browser.run(_AXE)
            if found:
                complaints[name, size, is_dark] = found

    browser.run("document.querySelector('main').append(document.createElement('button'))")
    nameless = browser.run(_AXE)

    assert complaints == {}
    assert [one[0] for one in nameless] == ["button-name"]


def test_pages_are_of_use_without_scripts(browser: Browser, furniture: Furnished) -> None:
    """All figures are there, and the overview loads itself again."""
    enter(browser, furniture)

    browser.chrome("Emulation.setScriptExecutionDisabled", value=True)
    browser.go(f"{furniture.server.address}/console")
    overview = browser.text("main")

    assert "Traffic by outcome" in overview
    assert "dead letters" in overview
    assert "Pause" not in overview


_FOCUSED = """
const one = document.activeElement, style = getComputedStyle(one);
return { text: (one.textContent || one.name || "").trim(),
         outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth) };
"""

_AXE = """
return axe.run(document).then((found) =>
  found.violations.map((one) => [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html)]));
"""

_STRUCTURE = """
const wrong = [], all = (selector) => [...document.querySelectorAll(selector)];
for (const landmark of ["header", "nav", "main", "footer"]) if (!all(landmark).length) wrong.push("no " + landmark);
if (all("h1").length !== 1) wrong.push("h1");
if (!document.documentElement.lang) wrong.push("lang");
for (const field of all("input:not([type=hidden])")) if (!field.labels.length) wrong.push("label of " + field.id);
for (const table of all("table")) {
  if (!table.caption || !table.caption.textContent.trim()) wrong.push("caption");
  if (table.getAttribute("role") !== "table") wrong.push("role");
  const heads = table.tHead.rows[0].cells.length;
  for (const row of table.tBodies[0].rows) if (row.cells.length !== heads) wrong.push("cells of " + row.textContent);
}
for (const one of all("nav")) if (!one.getAttribute("aria-label")) wrong.push("name of nav");
for (const one of all("meter")) if (!one.textContent.trim()) wrong.push("text of meter");
const ids = all("[id]").map((one) => one.id);
if (new Set(ids).size !== ids.length) wrong.push("ids");
return wrong;
"""

_CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const linear = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = (rgb) => {
  const [r, g, b] = rgb.slice(0, 3).map((value) => linear(value / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (one) => {
  for (let at = one; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
let worst = { ratio: 99, text: "" };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const one = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
  if (!text || !one.checkVisibility() || one.closest("meter, script, noscript")) continue;
  const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < worst.ratio) worst = { ratio, text };
}
return worst;
"""
