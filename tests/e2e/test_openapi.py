"""schemathesis drives everything that `/openapi.json` describes on a live server."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.live import MASKLINE, LiveServer, clean_environment
from tests.e2e.tenant import new_tenant

EXAMPLES = 12
"""Of each operation and phase."""

TOO_MUCH_ASKED = "positive_data_acceptance,negative_data_rejection,ensure_resource_availability"
"""A schema cannot say all rules (a name that is taken), an empty value is no value (behaviour 2.3), and 404 with 80301
says that the number named in a form is not owned, not that the service just made is missing (behaviour 17)."""


@pytest.mark.timeout(180)
def test_the_document_is_kept_by_the_server(start_server: Callable[..., LiveServer], tmp_path: Path) -> None:
    """No 500, no status, type, header or shape that is not documented, nothing without credentials or after delete."""
    server = start_server()
    tenant = new_tenant(server)
    tenant.service(numbers=2).pairing()
    tenant.close()
    seed = random.randrange(2**32)  # noqa: S311 - a test's dice; shown in the output

    command = [str(MASKLINE.with_name("st")), "run", f"{server.address}/openapi.json"]
    command += ["--auth", f"{tenant.sid}:{tenant.token}", "--seed", str(seed), "--max-examples", str(EXAMPLES)]
    command += ["--checks", "all", "--exclude-checks", TOO_MUCH_ASKED, "--warnings", "off", "--no-color"]
    ran = subprocess.run(  # noqa: S603 - the development tool
        command, capture_output=True, text=True, cwd=tmp_path, timeout=170, check=False, env=clean_environment()
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No issues found" in ran.stdout
    assert server.stop() == 0
