"""Lists are narrowed by their query, page by page, and can be had as files."""

import csv
import io
import re

import msgspec
import pytest

from engine.core.model.errors import Code, PeerUnavailable
from engine.core.model.outbox import OutboxCallback
from engine.core.model.records import Account
from engine.core.model.sids import SidKind
from engine.core.ports.lists import AlertFilter, Page, PageCursor
from tests.api.fake_control import NOW
from tests.console.fakes import Console, add_account, furnish

pytestmark = pytest.mark.anyio

EXPORTS = ("/exports/events.csv", "/exports/events.ndjson", "/exports/outbox.csv", "/exports/outbox.ndjson")


async def test_events_are_narrowed_by_code_level_service_and_age(console: Console, account: Account) -> None:
    """By several at once; what cannot be read means any."""
    first, second = await furnish(console, account), await furnish(console, account, name="ride-2")
    old = msgspec.structs.replace(
        first.event, sid=console.control.new_sid(SidKind.DEBUGGER_EVENT), code=Code.STOP_WORD, at=NOW - 7_200
    )
    console.control.events[old.sid] = old
    screen = await console.screen_of(account)

    async def listed(query: str) -> set[str]:
        return set(re.findall("events/(NO[0-9a-f]{32})", (await screen.get(f"/events?{query}")).text))

    every = {first.event.sid, second.event.sid, old.sid}
    assert await listed("code=80901") == await listed("level=warning") == {old.sid}
    assert await listed(f"service={second.service.sid}") == {second.event.sid}
    assert await listed("age=1h") == {first.event.sid, second.event.sid}
    assert await listed(f"code=80902&service={first.service.sid}&age=24h") == {first.event.sid}
    assert await listed("code=80902&level=warning") == set()
    assert await listed("code=x&service=KS1&age=3y&level=loud") == every


async def test_the_filters_stay_when_a_page_is_turned(console: Console, account: Account) -> None:
    """And in the form."""
    for place in range(30):
        await furnish(console, account, name=f"ride-{place}")
    screen = await console.screen_of(account)

    first = (await screen.get("/events?code=80902&age=24h")).text
    (onward,) = re.findall(r'rel="next" href="events\?code=80902&amp;age=24h&amp;(after=[^"]*)"', first)
    second = (await screen.get(f"/events?code=80902&age=24h&{onward}")).text

    assert 'value="80902"' in first
    assert "<option selected>24h</option>" in first
    assert len(set(re.findall("events/(NO[0-9a-f]{32})", second))) == 5


async def test_lists_are_had_as_files_that_the_filters_narrow(console: Console, account: Account) -> None:
    """Both forms say the same; nothing of another account."""
    held, other = await furnish(console, account), await furnish(console, add_account(console, "b"))
    screen = await console.screen_of(account)

    answers = {path: await screen.get(path) for path in EXPORTS}
    none = await screen.get("/exports/events.ndjson?code=1")

    for kind in ("events", "outbox"):
        (row,) = csv.DictReader(io.StringIO(answers[f"/exports/{kind}.csv"].text))
        (same,) = [msgspec.json.decode(line) for line in answers[f"/exports/{kind}.ndjson"].text.splitlines()]
        assert row == {name: "" if value is None else str(value) for name, value in same.items()}
        assert row["session_sid"] == held.session.sid
    assert '"interaction_sid":"' + held.interaction.sid in answers["/exports/outbox.ndjson"].text
    assert not [sid for sid in other.sids if any(sid in answer.text for answer in answers.values())]
    assert none.text == ""
    assert answers["/exports/events.csv"].headers["content-disposition"] == 'attachment; filename="maskline-events.csv"'


async def test_files_have_no_whole_number_and_no_formula(console: Console, account: Account) -> None:
    """Whatever was written."""
    await furnish(console, account, text='=HYPERLINK("tel:+14155550110")')
    screen = await console.operators_screen()

    texts = {path: (await screen.get(path)).text for path in EXPORTS}

    assert not [text for text in texts.values() if "4155550110" in text]
    assert "'=HYPERLINK" in texts["/exports/events.csv"]
    assert "'=HYPERLINK" not in texts["/exports/events.ndjson"]


async def test_a_file_that_would_lack_rows_is_not_made(console: Console, account: Account) -> None:
    """A host that does not answer."""

    async def fail(_: str | None, __: AlertFilter, cursor: PageCursor) -> Page[object]:
        assert not cursor.is_part_enough
        raise PeerUnavailable("host-1 is down")

    console.control.alerts_page = fail  # type: ignore[assignment, method-assign]
    screen = await console.screen_of(account)

    assert (await screen.get("/exports/events.csv")).status_code == 503


async def test_nobody_has_a_file_without_a_login(console: Console) -> None:
    """They are sent to log in."""
    screen = console.screen()

    assert [(await screen.get(path)).status_code for path in EXPORTS] == [303] * 4


async def test_an_entry_of_the_outbox_leads_to_its_interaction(console: Console, account: Account) -> None:
    """From the list, and from the page of its session."""
    held = await furnish(console, account)
    screen = await console.screen_of(account)

    for path in ("/outbox", held.paths[1]):
        assert f"interactions/{held.interaction.sid}" in (await screen.get(path)).text


async def test_events_are_counted_by_kind_above_their_list(console: Console, account: Account) -> None:
    """With a link to those of the kind, in the same time; one kind alone needs no count."""
    holdings = await furnish(console, account)
    screen = await console.screen_of(account)
    alone = (await screen.get("/events")).text
    another = msgspec.structs.replace(
        holdings.event, sid=console.control.new_sid(SidKind.DEBUGGER_EVENT), code=Code.STOP_WORD, at=NOW - 60
    )
    console.control.events[another.sid] = another

    both = (await screen.get("/events?age=1h")).text

    assert "By kind" not in alone
    assert f'events?age=1h&amp;code={int(Code.STOP_WORD)}&amp;service={holdings.service.sid}"' in both


@pytest.mark.parametrize(
    ("died", "next_try", "shown"),
    [(None, NOW + 150, "in 2 min"), (None, NOW - 1, "now"), (None, None, "in turn"), (NOW, None, "never")],
)
async def test_an_entry_says_where_it_goes_and_when_it_is_tried_again(
    console: Console, account: Account, *, died: float | None, next_try: float | None, shown: str
) -> None:
    """The path of its URL, but not the query, which may hold what is secret."""
    held = await furnish(console, account)
    content = OutboxCallback(url="https://shop.example/told/a?key=word", interaction=held.interaction)
    console.control.entries[held.entry.sid] = msgspec.structs.replace(
        held.entry, content=content, date_died=died, date_next=next_try
    )
    screen = await console.screen_of(account)

    for path in ("/outbox", held.paths[1], held.paths[3]):
        text = (await screen.get(path)).text
        assert f'data-label="Next try">{shown}<' in text
        assert 'https://shop.example<span class="aside">/told/a</span>' in text
        assert "key=" not in text


async def test_numbers_that_were_never_used_have_a_page(console: Console, account: Account) -> None:
    """The longest owned first; what was not looked at is not said to be unused, and none is said to be none."""
    held = await furnish(console, account)
    number = console.control.numbers[held.number_sid]
    older = msgspec.structs.replace(number, address="+12125559999", date_created=number.date_created - 86_400)
    screen = await console.screen_of(account)
    path = f"/services/{held.service.sid}"

    link = (await screen.get(path)).text
    unknown = (await screen.get(f"{path}/unused")).text
    console.plane.unused_numbers[held.service.sid] = (number, older)
    some = (await screen.get(f"{path}/unused")).text
    console.plane.unused_numbers[held.service.sid] = ()
    none = (await screen.get(f"{path}/unused")).text

    assert f'href="{held.service.sid}/unused"' in link
    assert "There was no time" in unknown
    assert some.index(older.address) < some.index(number.address)
    assert "There was no time" not in some + none
    assert "Every number of its pool has been used." in none


async def test_the_outbox_is_counted_by_receiver_and_error(console: Console, account: Account) -> None:
    """Above the list; of one delivery alone nothing more is to be said."""
    first = await furnish(console, account)
    screen = await console.screen_of(account)

    alone = (await screen.get("/outbox")).text
    await furnish(console, account, name="ride-2", text="answered 503")
    two = (await screen.get("/outbox")).text
    console.plane.silent = ("host-1",)
    part = (await screen.get("/outbox")).text

    assert "By receiver and error" not in alone
    assert two.index("By receiver and error") < two.index("answered 503") < two.index("One by one")
    assert first.entry.destination in two
    assert "host-1" in part
