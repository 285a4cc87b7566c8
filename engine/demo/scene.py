"""Who talks to whom in the demo: accounts, services, numbers, sessions. Every number is fictitious.

US numbers are from 555-0100 to 555-0199, British ones from Ofcom's range for drama (020 7946 0000 to 0999); the
Mexican and Argentine ones copy the 555-01xx pattern.
"""

import msgspec

from engine.core.model.records import Mode


class Person(msgspec.Struct, frozen=True):
    """A participant."""

    name: str
    """Shown in stories."""
    number: str
    """Their real number."""
    proxy: str
    """The number they dial to reach the other one."""


class DemoSession(msgspec.Struct, frozen=True, kw_only=True):
    """A pairing."""

    name: str
    """Its unique name."""
    people: tuple[Person, ...]
    """One or two."""
    mode: Mode = Mode.VOICE_AND_MESSAGE
    """What it lets pass."""
    ttl_seconds: int = 0
    """Idle limit; 0 = none."""
    is_closed: bool = False
    """Closed before the traffic comes."""


class DemoService(msgspec.Struct, frozen=True, kw_only=True):
    """A service with its pool."""

    name: str
    """Its unique name."""
    account: str
    """Name of the account that has it."""
    pool: tuple[str, ...]
    """Its proxy numbers. With a single one the engine chooses it; otherwise sessions name theirs."""
    sessions: tuple[DemoSession, ...] = ()
    """Its pairings."""
    reserved: tuple[str, ...] = ()
    """Those of the pool that are never selected."""
    has_application: bool = False
    """Its webhooks lead to the demo's application."""
    document: str | None = None
    """Its own answer for whoever meets no session."""


RIDE_POOL = tuple(f"+121255501{last}" for last in range(71, 75))
DATE_POOL = ("+442079460171", "+442079460172")
MEXICAN_POOL = ("+525555550171",)
ARGENTINE_POOL = ("+541155550171",)
SHOP_POOL = tuple(f"+131255501{last}" for last in range(71, 78))
PUBLISHED = SHOP_POOL[0]
"""The number of the shop that everybody may call; reserved, so that no seller gets it."""
DESK_POOL = ("+13125550170",)
NOT_IN_ANY_POOL = "+12125550199"

_RIDER_AREAS = ("206", "303", "312", "404", "415", "503", "512", "602", "617", "702", "713", "718")


def _rides() -> tuple[DemoSession, ...]:
    """Twelve rides of four drivers: each driver has three riders at once, each behind another number."""
    return tuple(
        DemoSession(
            name=f"ride-{index + 1}",
            people=(
                Person(f"rider {index + 1}", f"+1{area}55501{10 + index}", RIDE_POOL[index % 4]),
                Person(f"driver {index % 4 + 1}", f"+164655501{30 + index % 4}", RIDE_POOL[(index // 4 + 1) % 4]),
            ),
        )
        for index, area in enumerate(_RIDER_AREAS)
    )


def _pairs(prefix: str, names: tuple[str, str], pool: tuple[str, ...]) -> tuple[DemoSession, ...]:
    """Three pairings of people whose numbers follow those of the pool."""
    return tuple(
        DemoSession(
            name=f"{prefix}-{index + 1}",
            people=(
                Person(f"{names[0]} {index + 1}", f"{pool[0][:-2]}{10 + 2 * index}", pool[index % len(pool)]),
                Person(f"{names[1]} {index + 1}", f"{pool[0][:-2]}{11 + 2 * index}", pool[(index + 1) % len(pool)]),
            ),
        )
        for index in range(3)
    )


def _pair(first: str, second: str, area: str) -> tuple[Person, Person]:
    return (
        Person(first, f"+1{area}5550150", RIDE_POOL[0]),
        Person(second, f"+1{area}5550151", RIDE_POOL[1]),
    )


VOICE_ONLY = DemoSession(name="hotline", mode=Mode.VOICE_ONLY, people=_pair("patient", "nurse", "805"))
MESSAGE_ONLY = DemoSession(name="text-desk", mode=Mode.MESSAGE_ONLY, people=_pair("customer", "agent", "808"))
WAITING = DemoSession(name="waiting", people=_pair("early guest", "", "813")[:1])
CLOSED = DemoSession(name="finished", is_closed=True, people=_pair("past rider", "past driver", "816"))
EXPIRED = DemoSession(name="lapsed", ttl_seconds=1, people=_pair("late rider", "late driver", "818"))

RIDES = _rides()
DATES = _pairs("date", ("Ana", "Ben"), DATE_POOL)
MEXICAN = _pairs("paquete", ("remitente", "mensajero"), MEXICAN_POOL)
ARGENTINE = _pairs("envio", ("vendedora", "cliente"), ARGENTINE_POOL)

SELLER = "+16465550139"
BUYERS = {f"+177355501{20 + index}": proxy for index, proxy in enumerate(SHOP_POOL[1:5])}
"""Who may call the shop unannounced: the application has them reach the seller behind this number."""
CURIOUS_CALLER, HANDLED_CALLER, UNLUCKY_CALLER, IMPOSSIBLE_CALLER = (f"+177355501{last}" for last in range(30, 34))
"""Others: the application answers with a document, sees to it itself, fails, asks for a session that cannot be."""
FORBIDDEN_TEXT = "What is your real number?"
"""What the gate of the shop blocks."""
GATED = DemoSession(
    name="gated",
    people=(
        Person("regular", "+17735550140", SHOP_POOL[5]),
        Person("clerk", "+17735550141", SHOP_POOL[6]),
    ),
)

PLAIN_ACCOUNT = "rides"
ARGENTINE_ACCOUNT = "parcels"
"""The account whose calls to Argentine mobiles carry the "9"."""

SCENE = (
    DemoService(
        name="rides",
        account=PLAIN_ACCOUNT,
        pool=RIDE_POOL,
        sessions=(*RIDES, VOICE_ONLY, MESSAGE_ONLY, WAITING, CLOSED, EXPIRED),
    ),
    DemoService(name="dates", account=PLAIN_ACCOUNT, pool=DATE_POOL, sessions=DATES),
    DemoService(name="paquetes", account=ARGENTINE_ACCOUNT, pool=MEXICAN_POOL, sessions=MEXICAN),
    DemoService(name="envios", account=ARGENTINE_ACCOUNT, pool=ARGENTINE_POOL, sessions=ARGENTINE),
    DemoService(
        name="shop",
        account=PLAIN_ACCOUNT,
        pool=SHOP_POOL,
        sessions=(GATED,),
        reserved=(PUBLISHED,),
        has_application=True,
    ),
    DemoService(
        name="desk",
        account=PLAIN_ACCOUNT,
        pool=DESK_POOL,
        document="<Response><Pause/></Response>",
    ),
)
"""All of it."""
