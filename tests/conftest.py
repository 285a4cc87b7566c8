"""What every test rests on: the event loop that the engine itself runs on, and Hypothesis without wall-clock limits."""

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=2_000)  # by hand: --hypothesis-profile=deep
settings.load_profile("house")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run async tests on uvloop."""
    return "asyncio", {"use_uvloop": True}
