"""`maskline smpp send`: what it says before it speaks to anybody."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

HUB = """
smpp_listen = "127.0.0.1:0"

[smpp_peers.hub]
role = "smsc"
system_id = "hub"
password = "hush"

[carrier_routes]
"*" = "hub"
"""


@pytest.mark.parametrize(
    ("settings", "advice"),
    [("", "the settings have none; name their file with --config"), (HUB, "there are hub")],
)
def test_a_peer_that_is_not_there_is_told_with_those_that_are(
    run: Run, tmp_path: Path, settings: str, advice: str
) -> None:
    """Where there are none, the file with them was not named."""
    file = tmp_path / "maskline.toml"
    file.write_text(settings, "utf-8")

    numbers = ("--from", "+12125550111", "--to", "+14155550100")
    refused = run("smpp", "send", "carrier", *numbers, "hello", "--config", file)

    assert refused.exit_code == 2
    assert f"there is no peer 'carrier'; {advice}" in refused.output
