"""An account on a live server: its REST client, its official SDK, its services."""

import itertools
import json
from typing import Any

import httpx
import msgspec
from twilio.rest import Client

from engine.core.model.placement import owner_of
from tests.e2e.carrier import Carrier
from tests.e2e.live import NO_TLS, LiveServer

Json = dict[str, Any]

_next_number = itertools.count(2_345_000)


def proxy_number() -> str:
    """Return a number of New York that no account owns yet."""
    return f"+1212{next(_next_number)}"


def numbers_of(place: int, count: int, *, hosts: tuple[int, ...] = (2,)) -> tuple[str, ...]:
    """Return new numbers that this host owns in clusters of all these sizes."""
    owned = (one for one in iter(proxy_number, "") if {owner_of(one, size) for size in hosts} == {place})
    return tuple(itertools.islice(owned, count))


def near_numbers() -> tuple[str, ...]:
    """Return two numbers that the first of two or three hosts owns: what arrives there waits for none other."""
    return numbers_of(0, 2, hosts=(2, 3))


def person() -> str:
    """Return the real number of somebody new, in San Francisco."""
    return f"+1415{next(_next_number)}"


class Tenant:
    """One account."""

    def __init__(self, server: LiveServer, sid: str, token: str) -> None:
        """Speak to a server with an account's credentials."""
        self.server = server
        self.sid = sid
        self.token = token
        self.http = client(server.address, sid, token)
        self.carrier = Carrier(server, sid, token)

    def close(self) -> None:
        """Hang up."""
        self.http.close()
        self.carrier.close()

    def moved(self, server: LiveServer) -> "Tenant":
        """Return the same account as it is reached on a server started later on the same data."""
        self.close()
        return Tenant(server, self.sid, self.token)

    def sdk(self) -> Client:
        """Return the official SDK, unmodified but for its base URLs."""
        sdk = Client(self.sid, self.token)
        sdk.proxy.base_url = self.server.address
        sdk.api.base_url = self.server.address
        return sdk

    def get(self, path: str) -> Json:
        """Read."""
        return self._expect(200, self.http.get(path))

    def create(self, path: str, **form: object) -> Json:
        """Create."""
        return self._expect(201, self.http.post(path, data=written(form)))

    def update(self, path: str, **form: object) -> Json:
        """Update."""
        return self._expect(200, self.http.post(path, data=written(form)))

    def delete(self, path: str) -> None:
        """Delete."""
        response = self.http.delete(path)
        assert response.status_code == 204, response.text

    def refused(self, method: str, path: str, **form: object) -> tuple[int, int]:
        """Ask for what must be refused; returns status and code."""
        response = self.http.request(method, path, data=written(form) or None)
        assert response.is_client_error, response.text
        return response.status_code, response.json()["code"]

    def everything(self, path: str, key: str) -> list[Json]:
        """Read a list to its end."""
        found: list[Json] = []
        url: str | None = f"{path}?PageSize=100"
        while url is not None:
            page = self.get(url.replace(self.server.public_url, self.server.address))
            found += page[key]
            url = page["meta"]["next_page_url"]
        return found

    def service(self, *, numbers: int = 1, pool: tuple[str, ...] = (), **form: object) -> "Service":
        """Make a service whose pool has these numbers, or that many new ones."""
        sid = self.create("/Services", UniqueName=form.pop("UniqueName", f"e2e-{next(_next_number)}"), **form)["sid"]
        pool = pool or tuple(proxy_number() for _ in range(numbers))
        for number in pool:
            self.create(f"/Services/{sid}/PhoneNumbers", PhoneNumber=number)
        return Service(self, f"/Services/{sid}", sid, pool)

    def _expect(self, status: int, response: httpx.Response) -> Json:
        assert response.status_code == status, response.text
        answer: Json = response.json()
        return answer


def new_tenant(server: LiveServer, **settings: bool) -> Tenant:
    """Make an account with these settings, as the operator."""
    made = server.admin("POST", "/accounts", {"friendly_name": "e2e", **settings})
    return Tenant(server, made["account"]["sid"], made["auth_token"])


class Endpoint(msgspec.Struct, frozen=True):
    """A participant as the tests speak of one."""

    sid: str
    identifier: str
    proxy: str


class Pairing(msgspec.Struct, frozen=True):
    """A session and its two sides."""

    path: str
    sid: str
    first: Endpoint
    second: Endpoint

    @property
    def sides(self) -> tuple[tuple[Endpoint, Endpoint], tuple[Endpoint, Endpoint]]:
        """Both directions: who calls, who is reached."""
        return (self.first, self.second), (self.second, self.first)


class Service:
    """One service with its pool."""

    def __init__(self, tenant: Tenant, path: str, sid: str, pool: tuple[str, ...]) -> None:
        """Speak of a service that exists."""
        self.tenant = tenant
        self.path = path
        self.sid = sid
        self.pool = pool

    def session(self, *people: str, **form: object) -> Json:
        """Make a session of these people."""
        return self.tenant.create(f"{self.path}/Sessions", Participants=participants(*people), **form)

    def pairing(self, first: str | None = None, second: str | None = None, **form: object) -> Pairing:
        """Make a session of two people, new ones unless named."""
        people = (first or person(), second or person())
        sid = self.session(*people, **form)["sid"]
        path = f"{self.path}/Sessions/{sid}"
        endpoints = {one.identifier: one for one in self.endpoints(path)}
        return Pairing(path, sid, endpoints[people[0]], endpoints[people[1]])

    def endpoints(self, session_path: str) -> list[Endpoint]:
        """Read the live participants of a session."""
        found = self.tenant.everything(f"{session_path}/Participants", "participants")
        return [
            Endpoint(one["sid"], one["identifier"], one["proxy_identifier"])
            for one in found
            if one["date_deleted"] is None
        ]

    def join(self, session_path: str, identifier: str, **form: object) -> Endpoint:
        """Add a participant."""
        made = self.tenant.create(f"{session_path}/Participants", Identifier=identifier, **form)
        return Endpoint(made["sid"], made["identifier"], made["proxy_identifier"])

    def numbers(self) -> dict[str, Json]:
        """Read the pool, by address."""
        found = self.tenant.everything(f"{self.path}/PhoneNumbers", "phone_numbers")
        return {one["phone_number"]: one for one in found}


def participants(*people: str) -> list[str]:
    """Write participants the way the SDKs do: one JSON object a value."""
    return [json.dumps({"Identifier": one}) for one in people]


def written(form: dict[str, object]) -> dict[str, str | list[str]]:
    """Write a form's values as SDKs do."""

    def one(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    return {key: list(map(one, value)) if isinstance(value, list) else one(value) for key, value in form.items()}


def client(address: str, username: str, password: str) -> httpx.Client:
    """Return a REST client of a server."""
    return httpx.Client(base_url=f"{address}/v1", auth=(username, password), verify=NO_TLS, timeout=30)
