"""An observer of what becomes of webhooks."""

import pytest

from tests.outbound.material import Remembered


@pytest.fixture
def observer() -> Remembered:
    """What is told."""
    return Remembered()
