"""What a marketplace needs, worked out on the real pool."""

import pytest

from engine.capacity.plan import Marketplace, plan

MARKET = Marketplace(drivers=50, jobs_per_hour=200.0, hours=4.0)


def test_as_many_numbers_are_needed_as_a_driver_has_sessions_at_once() -> None:
    """Riders can share a number; the sessions of one driver cannot."""
    found = plan(MARKET)

    assert found.numbers == found.most_of_a_driver > 1
    assert found.sessions_at_once >= found.numbers


def test_drivers_who_take_one_job_at_a_time_need_one_number() -> None:
    """All the others are told that nobody is free."""
    found = plan(Marketplace(drivers=50, jobs_per_hour=200.0, hours=4.0, most_at_once=1))

    assert (found.numbers, found.most_of_a_driver) == (1, 1)
    assert found.turned_away > 0


def test_the_same_seed_simulates_the_same() -> None:
    """And another one something else."""
    assert plan(MARKET) == plan(MARKET)
    assert plan(MARKET).sessions != plan(Marketplace(drivers=50, jobs_per_hour=200.0, hours=4.0, seed=2)).sessions


def test_sessions_that_stay_open_longer_need_more_numbers() -> None:
    """Keeping them for a day costs."""
    longer = plan(Marketplace(drivers=50, jobs_per_hour=200.0, hours=4.0, keep_minutes=600.0))

    assert longer.numbers > plan(MARKET).numbers


def test_more_traffic_than_a_host_takes_needs_more_hosts() -> None:
    """Calls and messages count as well as sessions."""
    few = plan(Marketplace(drivers=10, jobs_per_hour=100.0, hours=1.0))
    many = plan(Marketplace(drivers=10, jobs_per_hour=100.0, hours=1.0, events_per_session=2_000_000.0))

    assert few.hosts == 1
    assert many.hosts > many.events_per_second / 20_000


@pytest.mark.parametrize(
    "market", [Marketplace(drivers=0, jobs_per_hour=1.0), Marketplace(drivers=1, jobs_per_hour=0.0)]
)
def test_a_marketplace_of_nobody_is_refused(market: Marketplace) -> None:
    """Neither without drivers nor without jobs."""
    with pytest.raises(ValueError, match="drivers, jobs and hours"):
        plan(market)
