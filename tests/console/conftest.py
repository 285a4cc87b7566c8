"""A console with an account on it, for every test that wants one."""

import pytest

from engine.core.model.records import Account
from tests.console.fakes import Console, add_account, make_console


@pytest.fixture
def console() -> Console:
    """Serve in process."""
    return make_console()


@pytest.fixture
def account(console: Console) -> Account:
    """Make an account."""
    return add_account(console, "a", "Rides Ltd")
