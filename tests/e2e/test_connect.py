"""A platform that signs with its own account's token, as docs/connect.md has it connected, and what is said if not."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.application import eventually
from tests.e2e.carrier import Carrier, resource_sid
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Tenant, new_tenant

PLATFORM, TOKEN, OLD_TOKEN = "AC" + "7" * 32, "the-platforms-token", "the-token-before"
PUBLIC_URL = "https://masks.example.net/telephony"
GUIDE = Path(__file__).parents[2] / "docs" / "connect.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Return a server behind a proxy, connected as the guide says: the token in a file, no url."""
    directory = tmp_path_factory.mktemp("connect")
    (directory / "token").write_text(f"{TOKEN}\n{OLD_TOKEN}\n")
    config = directory / "maskline.toml"
    config.write_text(
        f'[carriers.platform]\naccount_sid = "{PLATFORM}"\nauth_token_file = "{directory / "token"}"\n'
        f'[carriers.regional]\naccount_sid = "AC{"8" * 32}"\nauth_token = "{TOKEN}"\nnumbers = ["+44"]\n'
    )
    server = LiveServer(directory / "data", "--config", str(config), public_url=PUBLIC_URL)
    yield server
    assert (server.stop(), "Traceback" in server.log, TOKEN in server.log) == (0, False, False), server.log[-4000:]


@pytest.fixture
def tenant(server: LiveServer) -> Iterator[Tenant]:
    """Return an account there."""
    tenant = new_tenant(server)
    yield tenant
    tenant.close()


@pytest.fixture(params=[TOKEN, OLD_TOKEN])
def platform(server: LiveServer, request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """Return the platform, which signs with the official library, before and after its token was changed."""
    platform = Carrier(server, PLATFORM, request.param)
    yield platform
    platform.close()


def test_a_platform_connects_with_its_own_token(tenant: Tenant, platform: Carrier) -> None:
    """Calls, messages and the states of both legs, for an account whose token it does not know."""
    pairing = tenant.service(numbers=2).pairing()
    alice, bob = pairing.first, pairing.second
    call_sid = resource_sid("CA")

    call = platform.call(alice.identifier, alice.proxy, sid=call_sid)
    message = platform.message(bob.identifier, bob.proxy, "on my way")
    inbound = platform.report(f"{PUBLIC_URL}/inbound/status", CallSid=call_sid, CallStatus="completed")

    assert (call.reached, message.reached) == ((bob.identifier, bob.proxy), (alice.identifier, alice.proxy))
    assert inbound == 204
    first = tenant.get(f"{pairing.path}/Interactions")["interactions"][0]
    assert (first["inbound_resource_sid"], first["inbound_resource_status"]) == (call_sid, "completed")


def test_a_platform_that_is_not_connected_is_told_of_where_people_look(server: LiveServer) -> None:
    """In the owner's list of alerts and, once, in the log; with neither number nor identifier whole."""
    tenant = new_tenant(server)
    stranger = Carrier(server, "AC" + "5" * 32, "unknown-token")
    pairing = tenant.service(numbers=2).pairing()
    alice = pairing.first

    answers = [stranger.call(alice.identifier, alice.proxy) for _ in range(5)]

    def alerts() -> list[dict[str, str]]:
        return [one for one in tenant.get("/Alerts")["alerts"] if one["error_code"] == "80625"]

    assert {answer.status for answer in answers} == {403}
    assert eventually(lambda: len(alerts()) == 1)
    lines = [line for line in server.log.splitlines() if "add [carriers.NAME]" in line and "A webhook to" in line]
    assert len(lines) == 1
    assert "docs/connect.md" in lines[0]
    assert not {alice.proxy, alice.identifier, stranger.account_sid} & set(re.split(r"[^\w+]", server.log))
    stranger.close()
    tenant.close()


def test_a_carrier_of_other_numbers_is_refused(tenant: Tenant, server: LiveServer) -> None:
    """Its token is right, the number is not among those that it may deliver for."""
    pairing = tenant.service(numbers=2).pairing()
    regional = Carrier(server, "AC" + "8" * 32, TOKEN)

    answer = regional.call(pairing.first.identifier, pairing.first.proxy)

    assert answer.status == 403
    assert tenant.get(f"{pairing.path}/Interactions")["interactions"] == []
    regional.close()


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl", "openssl"))), reason="needs what the guide uses")
@pytest.mark.parametrize(("token", "status"), [(TOKEN, "204"), (OLD_TOKEN, "204"), ("mistyped", "403")])
def test_the_guides_way_to_try_a_signature_works(server: LiveServer, token: str, status: str) -> None:
    """The very lines of the guide, with the values of this server; 403 where the token is another."""
    [lines] = re.findall(r"```sh\n(URL=.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    values = {"URL": f"{PUBLIC_URL}/inbound/status", "ACCOUNT_SID": PLATFORM, "AUTH_TOKEN": token}
    for name, value in values.items():
        lines, count = re.subn(rf"^{name}=.*$", f"{name}={value}", lines, flags=re.MULTILINE)
        assert count == 1, name
    lines = lines.replace("curl ", f"curl --connect-to '::{server.address.removeprefix('http://')}' ", 1)
    lines = lines.replace('"$URL"', '"${URL/https:/http:}"')

    said = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603, S607

    assert said.stdout.strip() == status, said.stderr
