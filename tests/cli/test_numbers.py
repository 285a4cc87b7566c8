"""`maskline numbers import`."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import Result

from engine.cli.numbers import ROWS_AT_ONCE
from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]


@pytest.fixture
def account(run: Run, tmp_path: Path) -> tuple[str, str]:
    """SID and token of the only account of the data directory."""
    made = json.loads(run("account", "create", "--data-dir", tmp_path / "data", "--json").output)
    return made["account"]["sid"], made["auth_token"]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("number,capabilities,country,reserved", *lines)))
    return path


def test_numbers_come_to_be_owned(
    run: Run, start_server: StartServer, account: tuple[str, str], tmp_path: Path
) -> None:
    """They are on the REST interface at once, with what the columns say."""
    server = start_server("--data-dir", str(tmp_path / "data"))
    file = write(tmp_path / "numbers.csv", "+12125550171,voice,US,no", "+442079460171,sms mms,GB,")

    imported = run("numbers", "import", file, "--data-dir", tmp_path / "data")

    url = f"{server.address}/2010-04-01/Accounts/{account[0]}/IncomingPhoneNumbers.json"
    owned = httpx.get(url, auth=account).json()["incoming_phone_numbers"]
    assert imported.exit_code == 0
    assert imported.output == "2 imported, 0 rejected\n"
    assert {one["phone_number"]: one["capabilities"]["voice"] for one in owned} == {
        "+12125550171": True,
        "+442079460171": False,
    }


@pytest.mark.parametrize("lines", ["", "\n \n", "number,capabilities,country,reserved\n"])
def test_a_file_with_nothing_in_it_is_refused(run: Run, account: tuple[str, str], tmp_path: Path, lines: str) -> None:
    """It is not what was meant."""
    assert account
    file = tmp_path / "numbers.csv"
    file.write_text(lines)

    refused = run("numbers", "import", file, "--data-dir", tmp_path / "data")

    assert refused.exit_code == 2
    assert "nothing in it" in refused.stderr


def test_a_short_code_can_be_learnt_used_and_released(
    run: Run, start_server: StartServer, account: tuple[str, str], tmp_path: Path
) -> None:
    """The import tells its SID, the list of the 2010 API finds it, it joins a pool by it, and its owner lets it go."""
    server = start_server("--data-dir", str(tmp_path / "data"))
    file = write(tmp_path / "numbers.csv", "+12125550171,voice,US,no", "55123,sms,US,no", "55124,sms,US,no")
    imported = run("numbers", "import", file, "--data-dir", tmp_path / "data", "--json")
    told = json.loads(imported.output)["short_codes"]
    codes = f"/2010-04-01/Accounts/{account[0]}/SMS/ShortCodes"

    with httpx.Client(base_url=server.address, auth=account) as http:
        (found,) = http.get(f"{codes}.json", params={"ShortCode": "55123"}).json()["short_codes"]
        service = http.post("/v1/Services", data={"UniqueName": "codes"}).json()["sid"]
        pool = f"/v1/Services/{service}/ShortCodes"
        pooled = http.post(pool, data={"Sid": found["sid"], "IsReserved": "true"})
        held = http.delete(f"{codes}/{found['sid']}.json")
        http.delete(f"{pool}/{found['sid']}")
        released = http.delete(f"{codes}/{found['sid']}.json")
        left = http.get(f"{codes}.json").json()["short_codes"]

    assert [(one["line"], one["number"]) for one in told] == [(3, "55123"), (4, "55124")]
    assert found["sid"] == told[0]["sid"]
    assert (pooled.status_code, pooled.json()["is_reserved"]) == (201, True)
    assert (held.status_code, released.status_code) == (409, 204)
    assert [one["sid"] for one in left] == [told[1]["sid"]]


def test_an_import_prints_the_sids_of_short_codes(run: Run, account: tuple[str, str], tmp_path: Path) -> None:
    """They are the only way to put one into a pool."""
    file = write(tmp_path / "numbers.csv", "+12125550171,voice,US,no", "55123,sms,US,no")

    imported = run("numbers", "import", file, "--account", account[0], "--data-dir", tmp_path / "data")

    assert re.fullmatch("line 3: short code 55123 is SC[0-9a-f]{32}\n2 imported, 0 rejected\n", imported.output)


def test_rejected_rows_are_named_and_the_others_imported(run: Run, account: tuple[str, str], tmp_path: Path) -> None:
    """Both what the file gets wrong and what the engine refuses has its line, in order, numbers masked."""
    lines = ("+12125550171,voice,US,no", "+12125550171,voice,US,no", "+1212,voice,US,no", "+12125550172,telex,US,no")
    file = write(tmp_path / "numbers.csv", *lines)

    imported = run("numbers", "import", file, "--account", account[0], "--data-dir", tmp_path / "data")

    *rejected, total = imported.output.splitlines()
    assert imported.exit_code == 1
    assert total == "1 imported, 3 rejected"
    assert [line.partition(":")[0] for line in rejected] == ["line 3", "line 4", "line 5"]
    assert "0171" not in imported.output


def test_a_long_file_is_sent_in_parts(run: Run, account: tuple[str, str], tmp_path: Path) -> None:
    """No row is lost between two requests; the report is JSON when asked for."""
    count = ROWS_AT_ONCE * 2 + 1
    file = write(tmp_path / "numbers.csv", *(f"+1212556{index:04d},,," for index in range(count)))

    report = json.loads(run("numbers", "import", file, "--data-dir", tmp_path / "data", "--json").output)

    assert report == {"account": account[0], "imported": count, "rejected": [], "short_codes": []}


def test_numbers_can_join_a_pool(run: Run, start_server: StartServer, account: tuple[str, str], tmp_path: Path) -> None:
    """Named by --service; reserved ones stay out of automatic selection."""
    server = start_server("--data-dir", str(tmp_path / "data"))
    service = httpx.post(f"{server.address}/v1/Services", auth=account, data={"UniqueName": "rides"}).json()
    file = write(tmp_path / "numbers.csv", "+12125550171,,,yes", "+12125550172,,,no")

    imported = run("numbers", "import", file, "--service", "rides", "--data-dir", tmp_path / "data")

    pool = httpx.get(service["links"]["phone_numbers"], auth=account).json()["phone_numbers"]
    assert imported.exit_code == 0
    assert {one["phone_number"]: one["is_reserved"] for one in pool} == {"+12125550171": True, "+12125550172": False}


def test_numbers_that_are_owned_already_join_a_pool_by_a_second_import(
    run: Run, start_server: StartServer, account: tuple[str, str], tmp_path: Path
) -> None:
    """As they are, short codes too, and under the SIDs that they have; what is in a pool already is a rejected row."""
    data_dir = tmp_path / "data"
    server = start_server("--data-dir", str(data_dir))
    service = httpx.post(f"{server.address}/v1/Services", auth=account, data={"UniqueName": "rides"}).json()
    file = write(tmp_path / "numbers.csv", "+12125550171,voice,,yes", "55123,sms,US,no")
    more = write(tmp_path / "more.csv", "+1 212 555 0171,,,yes", "55123,sms,US,no", "+12125550172,,,no")
    first = run("numbers", "import", file, "--data-dir", data_dir)
    again = run("numbers", "import", file, "--data-dir", data_dir)

    pooled = run("numbers", "import", more, "--service", "rides", "--data-dir", data_dir)
    twice = run("numbers", "import", more, "--service", "rides", "--data-dir", data_dir)

    pool = httpx.get(service["links"]["phone_numbers"], auth=account).json()["phone_numbers"]
    (code,) = httpx.get(service["links"]["short_codes"], auth=account).json()["short_codes"]
    assert (first.exit_code, again.exit_code) == (0, 1)
    assert again.output.count("is owned already") == 2
    assert (pooled.exit_code, pooled.output.splitlines()[-1]) == (0, "3 imported, 0 rejected")
    assert {one["phone_number"]: one["is_reserved"] for one in pool} == {"+12125550171": True, "+12125550172": False}
    assert {one["phone_number"]: one["capabilities"]["sms_inbound"] for one in pool}["+12125550171"] is False
    assert code["sid"] in first.output
    assert (twice.exit_code, twice.output.count("is already in the service")) == (1, 3)


def test_another_accounts_number_joins_no_pool_by_an_import(
    run: Run, start_server: StartServer, account: tuple[str, str], tmp_path: Path
) -> None:
    """The row says no more than that somebody has it."""
    data_dir = tmp_path / "data"
    server = start_server("--data-dir", str(data_dir))
    other = json.loads(run("account", "create", "--data-dir", data_dir, "--json").output)
    keys = (other["account"]["sid"], other["auth_token"])
    service = httpx.post(f"{server.address}/v1/Services", auth=keys, data={"UniqueName": "rides"}).json()
    file = write(tmp_path / "numbers.csv", "+12125550171,,,")
    run("numbers", "import", file, "--account", account[0], "--data-dir", data_dir)

    taken = run("numbers", "import", file, "--account", keys[0], "--service", "rides", "--data-dir", data_dir)

    assert taken.exit_code == 1
    assert "+1212555XXXX is owned already (code 80601)" in taken.output
    assert httpx.get(service["links"]["phone_numbers"], auth=keys).json()["phone_numbers"] == []


def test_with_two_accounts_the_owner_must_be_named(run: Run, account: tuple[str, str], tmp_path: Path) -> None:
    """Guessing would give numbers to the wrong tenant."""
    run("account", "create", "--data-dir", tmp_path / "data")
    file = write(tmp_path / "numbers.csv", "+12125550171,,,")

    refused = run("numbers", "import", file, "--data-dir", tmp_path / "data")

    assert refused.exit_code == 2
    assert "--account" in refused.output


def test_a_file_with_a_strange_header_is_refused(run: Run, account: tuple[str, str], tmp_path: Path) -> None:
    """Nothing is imported from a file that is not understood."""
    file = tmp_path / "numbers.csv"
    file.write_text("colour\nblue\n")

    refused = run("numbers", "import", file, "--account", account[0], "--data-dir", tmp_path / "data")

    assert refused.exit_code == 2
    assert str(file) in refused.output


@pytest.mark.parametrize(
    ("encoding", "complaint"), [("utf-16", "it is in UTF-16; save it as UTF-8"), ("latin-1", "it is not in UTF-8")]
)
def test_a_file_in_another_encoding_is_refused_in_words(
    run: Run, account: tuple[str, str], tmp_path: Path, *, encoding: str, complaint: str
) -> None:
    """As spreadsheets save it, with the umlaut of a name."""
    file = tmp_path / "numbers.csv"
    file.write_text("number,name\n+14155550100,B\u00fcro\n", encoding=encoding)

    refused = run("numbers", "import", file, "--data-dir", tmp_path)

    assert refused.exit_code == 2
    assert complaint in refused.stderr
    assert "codec" not in refused.stderr
