"""What a process may open for its listeners."""

import logging
import resource
from collections.abc import Iterator

import pytest

from engine.listeners import allow_descriptors


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Lower the limit of open files, and set it back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowered = min(soft, 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
    yield lowered, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_low_limit_is_raised_to_what_is_wanted(limits: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    """In silence; one that is high enough stays."""
    lowered, hard = limits

    for wanted, left in ((lowered - 1, lowered), (lowered + 10, lowered + 10)):
        allow_descriptors(wanted)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (left, hard)
    assert not caplog.records


def test_what_the_system_does_not_allow_is_told(limits: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    """With both figures; the limit is as high as it may be."""
    hard = limits[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this system sets no limit")

    with caplog.at_level(logging.WARNING, logger="maskline.engine"):
        allow_descriptors(hard + 1)

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    assert f"may open {hard} files, but may be asked for {hard + 1}" in caplog.text
