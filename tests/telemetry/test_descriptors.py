"""The watch over file descriptors."""

import asyncio
import logging
import os
import resource
from collections.abc import Iterator

import pytest

from engine.telemetry.descriptors import LOG_SECONDS, can_open, watch_descriptors

pytestmark = pytest.mark.anyio


@pytest.fixture
def no_descriptors() -> Iterator[None]:
    """Leave this process none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    os.close(highest)
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    try:
        yield
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_can_be_opened() -> None:
    """As long as nothing is wrong."""
    assert can_open()


@pytest.mark.usefixtures("no_descriptors")
def test_none_can_be_opened_past_the_limit() -> None:
    """And asking does not fail."""
    assert not can_open()


async def test_a_shortage_is_counted_at_each_look_and_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """The first look, one a minute later, and the end: three lines for five looks."""
    looks = iter([True, False, False, False, True])
    times = iter([0.0, 1.0, LOG_SECONDS])
    lacked: list[None] = []

    with caplog.at_level(logging.WARNING, logger="maskline.engine"), pytest.raises(NothingMore):
        await watch_descriptors(
            lambda: lacked.append(None), lambda: next(times), can_open=lambda: look(looks), interval_seconds=0.0
        )

    assert len(lacked) == 3
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "WARNING"]


class NothingMore(Exception):  # noqa: N818 - ends the watch
    """All looks are done."""


def look(looks: Iterator[bool]) -> bool:
    """Return the next of them."""
    found = next(looks, None)
    if found is None:
        raise NothingMore
    return found


async def test_the_watch_sleeps_between_two_looks() -> None:
    """It does not hold the loop."""
    watching = asyncio.create_task(watch_descriptors(lambda: None, lambda: 0.0))
    await asyncio.sleep(0)

    assert not watching.done()
    watching.cancel()
