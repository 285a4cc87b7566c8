"""An application to which webhooks go, and an observer of what becomes of them."""


import pytest

from tests.outbound.material import Remembered


@pytest.fixture
def observer() -> Remembered:
    """What is told."""
    return Remembered()
