"""An application to which webhooks go, and an observer of what becomes of them."""

from collections.abc import Iterator

import pytest

from tests.outbound.material import Remembered
from tests.outbound.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An application."""
    with receiving() as running:
        yield running


@pytest.fixture
def observer() -> Remembered:
    """What is told."""
    return Remembered()
