"""After a busy run with numbers planted in every field, none of them is whole in anything that an operator reads."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote, unquote

import click
import httpx
from click.testing import CliRunner

from engine.cli import main
from engine.console.app import PRIVATE
from tests.e2e.application import DEBUGGER, Application, eventually, pending
from tests.e2e.carrier import call_form
from tests.e2e.feed import Feed
from tests.e2e.live import NO_TLS, LiveServer, on_both_runtimes
from tests.e2e.tenant import Pairing, Service, Tenant, new_tenant, person

StartServer = Callable[..., LiveServer]

READING = {
    "account list": (),
    "account show": ("{account}",),
    "alerts list": ("{account}", "--limit", "100"),
    "apikey list": ("{account}",),
    "explain": ("--to", "{pool}", "--from", "{first}"),
    "numbers list": (),
    "outbox list": (),
    "pool report": ("--unused",),
    "service list": (),
    "service show": ("{service}",),
    "sessions list": ("--service", "{service}"),
    "sessions show": ("{session}",),
}
"""Commands that only read, with what they are asked; another one of such a name needs a line here."""

ELSEWHERE = {"cluster status", "console", "sip peers", "smpp peers"}
"""None shows what outsiders wrote."""

TOO_MANY = 429

EVENTS = 19
"""That the traffic below leaves at least; they are filed a moment after what they tell of."""

PAGES = {
    "": ("",),
    "/live": ("",),
    "/traffic": ("", "?period=day"),
    "/peers": ("",),
    "/search": ("",),
    "/explain": ("", "?about={event}"),
    "/services/{sid}": ("{service}",),
    "/services/{sid}/unused": ("{service}",),
    "/sessions/{sid}": ("{session}",),
    "/interactions/{sid}": ("{interaction}",),
    "/events": ("", "?level=warning"),
    "/events/{sid}": ("{event}",),
    "/outbox": ("", "?state=dead"),
    "/exports/events.csv": ("",),
    "/exports/events.ndjson": ("",),
    "/exports/outbox.csv": ("",),
    "/exports/outbox.ndjson": ("",),
}
"""Of the console: the SID of each, or its query."""


class Planted:
    """Numbers of people, a new one for each field, so that one that is found tells where it came from."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self._forms = itertools.cycle(("{0}", "{1}", "({2}) {3}-{4}", "{2}-{3}-{4}", "%2B{1}", "{2}.{3}.{4}"))

    def whole(self, field: str) -> str:
        """Return a number that has to be one, for a field."""
        number = self.of[field] = person()
        return number

    def in_text(self, field: str) -> str:
        """Return a number in one of the ways in which people and programs write it."""
        number = self.whole(field)
        return next(self._forms).format(number, number[1:], number[2:5], number[5:8], number[8:])

    def found_in(self, text: str) -> list[str]:
        """Name the fields whose number stands whole in a text."""
        plain = unquote(text)
        return [field for field, number in self.of.items() if _pattern(number).search(plain)]


def _pattern(number: str) -> re.Pattern[str]:
    return re.compile(r"[ ().\-]{0,2}".join(number[2:]))


def readers(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Walk the commands that show what is there."""
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from readers(command, (*path, name))
    elif path[-1] in {"list", "show", "status", "explain", "console", "report", "peers"}:
        yield " ".join(path)


def test_every_command_that_reads_is_looked_at() -> None:
    """A new one is listed above, or the search below would miss it."""
    assert {*readers(main)} == {*READING, *ELSEWHERE}


def test_every_page_of_the_console_is_looked_at() -> None:
    """Whatever a login may load; what it may send is searched for below."""
    assert {*PAGES} == {path for path, methods in PRIVATE.items() if "GET" in methods}
    assert {path for path, methods in PRIVATE.items() if "POST" in methods} == {
        *ASKED,
        "/interactions/{sid}",
        "/logout",
    }


def rest(tenant: Tenant, path: str, planted: Planted) -> Iterator[httpx.Response]:
    """Ask for what is refused, with a number where anything may stand."""
    for method, place in itertools.product(("GET", "POST", "PUT"), ("Sessions", "PhoneNumbers", "ShortCodes", "x")):
        yield tenant.http.request(method, f"{path}/{place}/{quote(planted.in_text(f'path of {method} {place}'))}")
    for field in ("Status", "Mode", "Ttl", "DateExpiry"):
        yield tenant.http.post(f"{path}/Sessions", data={field: planted.in_text(f"field {field}")})
    for field in ("CallbackUrl", "GeoMatchLevel", "DefaultTtl"):
        yield tenant.http.post(path, data={field: planted.in_text(f"field {field}")})
    yield tenant.http.get(f"{path}/Sessions", params={"PageToken": planted.in_text("page token")})
    yield tenant.http.get(f"{path}/Sessions", auth=(planted.in_text("user"), planted.in_text("password")))


def calls(tenant: Tenant, proxy: str, planted: Planted) -> Iterator[str]:
    """Send what a carrier may send, signed and not; returns what is answered."""
    carrier = tenant.carrier
    for kind, post in (("call", carrier.call), ("message", carrier.message)):
        yield post(planted.whole(f"stranger's {kind}"), proxy).content.decode()
        yield post(
            planted.whole(f"caller of {kind}"), proxy, sid=f"CA{planted.in_text(f'sid of {kind}')}"
        ).content.decode()
        yield post(f"sip:{planted.whole(f'sip {kind}')}@x", proxy).content.decode()
    form = call_form(tenant.sid, planted.whole("unsigned caller"), proxy, sid=planted.in_text("unsigned sid"))
    yield carrier.post("/inbound/voice", form, signature="x").text
    yield carrier.post(
        "/inbound/voice", {"From": planted.whole("malformed"), "CallSid": planted.in_text("its sid")}
    ).text
    for status in ("completed", planted.in_text("status")):
        sid = planted.in_text(f"sid of status {status == 'completed'}")
        yield carrier.post("/inbound/status", {"CallSid": sid, "CallStatus": status, "AccountSid": tenant.sid}).text
    with Feed(tenant.server.feed, tenant.sid, tenant.token) as feed:
        problem = f"no route to {planted.in_text('problem')}"
        feed.decide(
            ["call", planted.whole("caller on the feed"), proxy, planted.in_text("sid on the feed")],
            ["call", planted.whole("long caller") * 30, proxy, "f1"],
            ["status", "call", "outbound", planted.in_text("leg on the feed"), "failed", proxy, None, None, problem],
        )


def hooks(tenant: Tenant, path: str, pairing: tuple[str, str], planted: Planted) -> None:
    """Have hooks fail whose URLs hold numbers."""
    first, proxy = pairing
    for kind in ("OutOfSessionCallbackUrl", "InterceptCallbackUrl", "CallbackUrl"):
        path_part, query_part = (quote(planted.in_text(f"{part} of {kind}")) for part in ("path", "query"))
        for url in (
            f"http://127.0.0.1:1/{path_part}?to={query_part}",
            f"http://{planted.whole(f'host of {kind}')[1:]}.invalid/",
        ):
            none = dict.fromkeys(("OutOfSessionCallbackUrl", "InterceptCallbackUrl", "CallbackUrl"), "")
            tenant.update(path, **{**none, kind: url})
            tenant.carrier.message(first, proxy, planted.in_text(f"text of {kind}"))
            tenant.carrier.call(planted.whole(f"stranger of {kind}"), proxy)


ASKED = {
    "/search": tuple({"text": text} for text in ("{first}", "{masked}", "{digits}", "{pool}", "{call}", "{name}", "0")),
    "/explain": ({"sender": "{first}", "proxy": "{pool}"}, {"sender": "{pool}", "proxy": "{first}"}),
}
"""Forms of the console, with what is typed into them."""


def console(tenant: Tenant, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Read the operator's pages, every one about each event and interaction, and send its forms."""
    server = tenant.server
    link = CliRunner().invoke(main, ["console", "--data-dir", str(server.data_dir)]).output.strip()
    with httpx.Client(base_url=server.address, verify=NO_TLS, follow_redirects=True) as http:
        form = _FORM.findall(http.get(link.removeprefix(server.public_url)).text)
        assert "Log out" in http.post("/console/open", data=dict(form)).text
        events = [{"event": one["sid"]} for one in tenant.everything("/Alerts", "alerts")]
        session = f"/Services/{names['service']}/Sessions/{names['session']}"
        passed = tenant.everything(f"{session}/Interactions", "interactions")
        calls = [{"interaction": one["sid"], "call": one["inbound_resource_sid"]} for one in passed]
        assert events
        assert calls
        for path, spelled in PAGES.items():
            for one in spelled:
                abouts = events if "{event}" in one else calls if "{interaction}" in one else ({},)
                for about in abouts:
                    where = path.replace("{sid}", one) if "{sid}" in path else path + one
                    yield where, _told(http, "GET", where.format(**names, **about))
        names = {**names, **calls[0]}
        csrf = _FORM.findall(_told(http, "GET", "/search"))
        for path, forms in ASKED.items():
            for fields in forms:
                filled = {name: text.format(**names) for name, text in fields.items()}
                yield f"{path} {fields}", _told(http, "POST", path, {**dict(csrf), **filled})
        yield "explained", _told(http, "POST", f"/interactions/{names['interaction']}", dict(csrf))


_FORM = re.compile(r'name="(form|csrf|code)" value="([^"]*)"')


def _told(http: httpx.Client, method: str, path: str, form: dict[str, str] | None = None) -> str:
    """Ask the console; it takes so many requests a second, and says when to ask again."""
    while (answer := http.request(method, f"/console{path}", data=form)).status_code == TOO_MANY:
        time.sleep(float(answer.headers["retry-after"]))
    assert answer.is_success, (path, answer.text)
    return answer.text


def shown(
    tenant: Tenant, service: Service, pairing: Pairing, commands: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Return all that an operator reads, by where it stands: logs, metrics, pages, answers of commands."""
    server = tenant.server
    names = {
        "account": tenant.sid,
        "service": service.sid,
        "session": pairing.sid,
        "pool": pairing.first.proxy,
        "first": pairing.first.identifier,
        "masked": f"{pairing.first.identifier[:-4]}XXXX",
        "digits": pairing.first.identifier[-4:],
        "name": str(tenant.get(pairing.path)["unique_name"]),
    }
    written = {
        "log": "\n".join([server.log, *(log.read_text("utf-8") for log in server.data_dir.rglob("*.log"))]),
        "metrics": server.metrics(),
    }
    written |= {f"console {where} {place}": text for place, (where, text) in enumerate(console(tenant, names))}
    for command, asked in commands.items():
        for form in ((), ("--json",)):
            arguments = (*command.split(), *(one.format(**names) for one in asked), *form)
            told = CliRunner().invoke(main, [*arguments, "--data-dir", str(server.data_dir)])
            assert told.exit_code == 0, told.output
            written[" ".join(arguments)] = told.output
    return written


@on_both_runtimes
def test_no_whole_number_is_written_anywhere(start_server: StartServer, application: Application) -> None:
    """Logs at debug, metrics, commands, console, debugger events, errors; an account's own answers are its own."""
    server = start_server(
        *("--rate-limit-per-second", "0", "--feed-listen", "127.0.0.1:0", "--outgoing-allow", "127.0.0.0/8"),
        *("--log-level", "debug", "--metrics-services", "10", "--webhook-tries", "1"),
    )
    tenant, planted = new_tenant(server), Planted()
    server.admin("PATCH", f"/accounts/{tenant.sid}", {"debugger_url": application.url(DEBUGGER)})
    service = tenant.service(numbers=2, UniqueName=f"rides {planted.in_text('service name')}")
    pairing = service.pairing(
        planted.whole("first"), planted.whole("second"), UniqueName=f"ride {planted.in_text('session name')}"
    )
    endpoint = {"FriendlyName": planted.in_text("friendly name"), "Identifier": planted.whole("third")}
    tenant.http.post(f"{pairing.path}/Participants", data=endpoint)
    said = [response.text for response in rest(tenant, service.path, planted)]
    tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, planted.in_text("text"))
    answers = [one for one in calls(tenant, pairing.first.proxy, planted) if "Dial" not in one]
    hooks(tenant, service.path, (pairing.first.identifier, pairing.first.proxy), planted)
    assert eventually(lambda: len(application.asked(DEBUGGER)) >= EVENTS)
    assert eventually(lambda: pending(server, account_sid=tenant.sid) == 0)

    written = {
        **shown(tenant, service, pairing, READING),
        "errors": "\n".join(said),
        "answers": "\n".join(answers),
        "debugger events": "\n".join(
            re.sub(r'"resource_sid": ?"[^"]*"', "", str(one.form)) for one in application.asked(DEBUGGER)
        ),
    }
    tenant.close()

    assert [where for where, text in written.items() if not text] == []
    assert len(planted.of) > 50
    assert {where: fields for where, text in written.items() if (fields := planted.found_in(text))} == {}


def test_a_number_is_found_however_it_is_written() -> None:
    """What the search stands on."""
    planted = Planted()
    texts = [planted.in_text(str(one)) for one in range(6)]

    assert [planted.found_in(f"x {text} y") for text in texts] == [[str(one)] for one in range(6)]
    assert planted.found_in("+1415234XXXX") == []
