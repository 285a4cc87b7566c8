"""`maskline serve`: what it says when it is ready, when it stops, and when it cannot start."""

import json
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import Result

from storage.sqlite import claim
from tests.cli.conftest import MASKLINE, Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]


def refused(*arguments: str) -> str:
    """Try to serve; returns the one line that says why not."""
    tried = subprocess.run(  # noqa: S603 - our own command
        [str(MASKLINE), "serve", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert tried.returncode == 2
    assert tried.stdout == ""
    (line,) = tried.stderr.splitlines()
    return line


def test_it_says_in_one_line_where_it_is_ready(start_server: StartServer, tmp_path: Path) -> None:
    """The line names address and data directory, and is all that goes to standard output."""
    server = start_server("--data-dir", str(tmp_path))

    ready = httpx.get(f"{server.address}/readyz")
    code, out, _ = server.stop()

    assert server.ready_line == f"Maskline is ready at {server.address} (data in {tmp_path})\n"
    assert ready.status_code == 200
    assert (code, out) == (0, "")


def test_a_long_data_directory_works(start_server: StartServer, run: Run, tmp_path: Path) -> None:
    """Deeper than the path of a socket may be: commands find the server, and it takes its socket away again."""
    data_dir = tmp_path.joinpath(*["a-rather-long-name-of-a-branch"] * 6)
    server = start_server("--data-dir", str(data_dir))

    made = run("account", "create", "--data-dir", data_dir, "--json")
    listed = run("account", "list", "--data-dir", data_dir, "--json")
    is_served = (data_dir / "maskline.sock").is_socket()
    code, _, _ = server.stop()

    assert (made.exit_code, listed.exit_code, is_served, code) == (0, 0, True, 0)
    assert json.loads(made.output)["account"]["sid"] in listed.output
    assert not (data_dir / "maskline.sock").exists()


def test_it_says_where_the_feed_listens(start_server: StartServer, tmp_path: Path) -> None:
    """In the same line; somebody answers there."""
    server = start_server("--data-dir", str(tmp_path), "--feed-listen", "127.0.0.1:0")

    (address,) = re.findall(r", feed at (127\.0\.0\.1:\d+)\)\n$", server.ready_line)
    with socket.create_connection(("127.0.0.1", int(address.partition(":")[2])), timeout=5) as connection:
        connection.sendall(b"\0\0\0\x01\x90")
        assert b"hello-expected" in connection.recv(1_000)
    code, _, log = server.stop()

    assert (code, "Traceback" in log) == (0, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_in_time_with_connections_open(
    start_server: StartServer, tmp_path: Path, number: signal.Signals
) -> None:
    """Idle keep-alive connections do not hold it up, and it leaves no socket behind."""
    server = start_server("--data-dir", str(tmp_path))
    with httpx.Client(base_url=server.address) as client:
        client.get("/healthz")

        code, _, log = server.stop(number)

    assert code == 0
    assert "Traceback" not in log
    assert not (tmp_path / "maskline.sock").exists()


def test_a_terminal_that_closes_does_not_end_what_nohup_keeps_up(tmp_path: Path) -> None:
    """Who ignores SIGHUP for it means it to go on."""
    server = Server("--data-dir", str(tmp_path), launcher=["nohup"])

    server.process.send_signal(signal.SIGHUP)
    alive = httpx.get(f"{server.address}/readyz")
    code, _, _ = server.stop()

    assert (alive.status_code, code) == (200, 0)


def test_a_request_in_flight_is_finished_and_kept(start_server: StartServer, tmp_path: Path, run: Run) -> None:
    """What began before the signal is answered, committed and there after the next start."""
    account = json.loads(run("account", "create", "--data-dir", tmp_path, "--json").output)
    credentials = httpx.BasicAuth(account["account"]["sid"], account["auth_token"])
    server = start_server("--data-dir", str(tmp_path))
    url = urlsplit(server.address)
    request = httpx.Request("POST", f"{server.address}/v1/Services", data={"UniqueName": "late"})
    authorised = next(credentials.auth_flow(request))
    connection = HTTPConnection(url.hostname or "", url.port)
    connection.putrequest("POST", "/v1/Services", skip_host=True)
    for name, value in authorised.headers.items():
        connection.putheader(name, value)
    connection.endheaders(authorised.content[:4])
    assert httpx.get(f"{server.address}/healthz").status_code == 200  # the half request has been read by now

    server.process.send_signal(signal.SIGTERM)
    wait_until_refused(url.hostname or "", url.port or 0)
    connection.send(authorised.content[4:])
    answer = connection.getresponse()
    answer.read()
    connection.close()
    server.process.communicate(timeout=5)

    again = start_server("--data-dir", str(tmp_path))
    assert answer.status == 201
    assert server.process.returncode == 0
    assert httpx.get(f"{again.address}/v1/Services/late", auth=credentials).status_code == 200


def test_a_request_that_never_ends_does_not_hold_it_up(start_server: StartServer, tmp_path: Path) -> None:
    """After the grace the connection is cut and the exit code is still 0."""
    server = start_server("--data-dir", str(tmp_path), "--shutdown-grace-seconds", "1")
    url = urlsplit(server.address)
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.sendall(b"POST /v1/Services HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nU")
        httpx.get(f"{server.address}/healthz")

        code, _, log = server.stop()

    assert code == 0
    assert "Traceback" not in log


def wait_until_refused(host: str, port: int) -> None:
    """Return once nothing is accepted any more."""
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except ConnectionError:
            return


def test_the_admin_socket_is_for_its_owner_only(start_server: StartServer, tmp_path: Path) -> None:
    """Nobody else may open it: it asks for no credentials."""
    start_server("--data-dir", str(tmp_path))

    mode = (tmp_path / "maskline.sock").stat().st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_second_server_on_the_same_directory_is_refused(start_server: StartServer, tmp_path: Path) -> None:
    """It names the directory and the process that has it, and the first one goes on."""
    server = start_server("--data-dir", str(tmp_path))

    line = refused("--data-dir", str(tmp_path), "--listen", "127.0.0.1:0")

    assert str(tmp_path) in line
    assert str(server.process.pid) in line
    assert httpx.get(f"{server.address}/readyz").status_code == 200


def test_a_cluster_on_the_directory_of_a_server_that_runs_is_refused(start_server: StartServer, tmp_path: Path) -> None:
    """Before a Ray is started for it; nothing is left beside the server's files."""
    server = start_server("--data-dir", str(tmp_path))
    files = {path.name for path in tmp_path.iterdir()}

    line = refused("--data-dir", str(tmp_path), "--listen", "127.0.0.1:0", "--runtime", "ray", "--hosts", "1")

    assert f"in use by process {server.process.pid}" in line
    assert {path.name for path in tmp_path.iterdir()} == files


def test_the_directory_of_one_host_of_a_cluster_is_refused(run: Run, tmp_path: Path) -> None:
    """A server on it, or a command, would know a part of the data and change it alone."""
    claim(tmp_path, hosts=2)
    (tmp_path / "host-0").mkdir()

    line = refused("--data-dir", str(tmp_path / "host-0"), "--listen", "127.0.0.1:0")
    commands = (("account", "create"), ("account", "list"), ("backup", str(tmp_path / "copy")))
    told = [run(*command, "--data-dir", tmp_path / "host-0") for command in commands]

    assert line.endswith(f"name the cluster's directory: --data-dir {tmp_path}")
    assert [(one.exit_code, one.output.splitlines()[-1]) for one in told] == [(2, line)] * len(told)
    assert not [*(tmp_path / "host-0").iterdir()]


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """Nothing is made on disk for a server that cannot listen."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        line = refused("--data-dir", str(tmp_path / "data"), "--listen", address)

    assert f"cannot listen on {address}" in line
    assert not (tmp_path / "data").exists()


def test_what_keeps_the_feed_from_listening_is_named(tmp_path: Path) -> None:
    """Its option, or its certificate; nothing is made on disk."""
    place = ("--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        taken = refused(*place, "--feed-listen", address)
    files = ("--feed-tls-certificate", str(tmp_path / "none.pem"), "--feed-tls-key", str(tmp_path / "key.pem"))
    no_certificate = refused(*place, "--feed-listen", "127.0.0.1:0", *files)

    assert f"cannot listen on {address}" in taken
    assert "--feed-listen" in taken
    assert f"cannot use {tmp_path / 'none.pem'} as feed_tls_certificate" in no_certificate
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_is_none_is_named(tmp_path: Path) -> None:
    """A file in its place cannot hold a database."""
    file = tmp_path / "file"
    file.touch()

    assert str(file) in refused("--data-dir", str(file), "--listen", "127.0.0.1:0")


def test_a_data_directory_of_a_cluster_is_refused_with_the_way_out(tmp_path: Path, run: Run) -> None:
    """Neither the server nor an offline command makes a second, empty database in it."""
    claim(tmp_path, hosts=3)

    line = refused("--listen", "127.0.0.1:0", "--data-dir", str(tmp_path))
    offline = run("account", "list", "--data-dir", tmp_path)

    assert "laid out for 3 hosts" in line
    assert f"maskline rebalance --hosts 1 --data-dir {tmp_path}" in line
    assert "laid out for 3 hosts" in offline.output
    assert [path.name for path in tmp_path.iterdir()] == ["maskline.layout"]


def test_a_bad_setting_is_named() -> None:
    """Key and source, before anything is opened."""
    assert "'retention_days' (flag --retention-days)" in refused("--retention-days", "never")


def test_unsigned_webhooks_are_loud_in_the_log(start_server: StartServer, tmp_path: Path) -> None:
    """Whoever turns the check off reads what that means."""
    server = start_server("--data-dir", str(tmp_path), "--no-verify-signatures", "--log-format", "json")

    _, _, log = server.stop()

    warnings = [json.loads(line) for line in log.splitlines()]
    assert any(one["level"] == "warning" and "SIGNATURES ARE NOT CHECKED" in one["message"] for one in warnings)


def test_all_that_a_server_writes_is_json_where_its_log_is(start_server: StartServer, tmp_path: Path) -> None:
    """The line of readiness too, whatever the level; one that cannot start says so in the same form."""
    settings = ("--data-dir", str(tmp_path), "--log-format", "json", "--log-level", "error")
    server = start_server(*settings)
    line = refused(*settings, "--listen", "127.0.0.1:0")

    _, out, log = server.stop()

    ready, busy = json.loads(server.ready_line), json.loads(line)
    assert (ready["level"], ready["message"].startswith("Maskline is ready at http://")) == ("info", True)
    assert (busy["level"], str(tmp_path) in busy["message"]) == ("error", True)
    assert (out, log) == ("", "")


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_fault_of_ours_is_a_record_of_the_log_without_numbers(where: str) -> None:
    """Its traceback may hold whatever the code had at hand."""
    script = (
        "import threading, warnings\n"
        "from engine.cli import serve\n"
        "from engine.telemetry.logs import configure_logs\n"
        "def fail(): raise LookupError('+14155550123')\n"
        "configure_logs(as_json=True, level='info')\n"
        "serve.log_what_is_uncaught()\n"
        "warnings.warn('of a library', stacklevel=1)\n"
        f"fail() if {where == 'main'} else threading.Thread(target=fail).start()\n"
    )

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603 - our own code

    warned, failed = map(json.loads, ran.stderr.splitlines())
    assert "of a library" in warned["message"]
    assert (failed["level"], "LookupError" in failed["traceback"]) == ("critical", True)
    assert "+14155550123" not in ran.stderr


def test_metrics_tell_of_the_requests(start_server: StartServer, tmp_path: Path) -> None:
    """Operations routes live on the same port, without credentials."""
    server = start_server("--data-dir", str(tmp_path))
    httpx.get(f"{server.address}/v1/Services")

    metrics = httpx.get(f"{server.address}/metrics").text

    assert "maskline_ready 1.0" in metrics
    assert 'maskline_api_requests_total{method="GET",route="/v1/Services",status="401"} 1.0' in metrics


def test_metrics_can_have_a_port_of_their_own(start_server: StartServer, tmp_path: Path) -> None:
    """There, nothing else is served."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start_server("--data-dir", str(tmp_path), "--operations-listen", f"127.0.0.1:{port}")

    answers = [httpx.get(f"http://127.0.0.1:{port}{path}") for path in ("/metrics", "/readyz", "/v1/Services")]

    assert [one.status_code for one in answers] == [200, 200, 404]
    assert "maskline_ready 1.0" in answers[0].text


def test_settings_are_printed_and_nothing_is_started(run: Run, tmp_path: Path) -> None:
    """The answer can be kept as the settings file."""
    printed = run("serve", "--print-settings", "--data-dir", tmp_path / "none", "--no-every-number-is-ours")

    assert printed.exit_code == 0
    assert "every_number_is_ours = false" in printed.output
    assert not (tmp_path / "none").exists()


def test_serving_imports_nothing_heavy() -> None:
    """Ray would cost the start its second; rich comes along with httpx, which serving needs."""
    listing = "import sys; from engine.cli import serve; print(*sys.modules)"

    ran = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)  # noqa: S603 - our own code

    assert not {"ray", "twilio", "hypothesis", "fastapi"} & set(ran.stdout.split())
