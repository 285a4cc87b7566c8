"""Hosts driven against a plain model: traffic, control, time, restarts and a failing store in any order.

What must never happen is said as invariants. For a deep run: `--hypothesis-profile=deep`.
"""

from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.actors.control_rules import ControlRules
from tests.actors.driver import FOREVER, PAGE, has_sessions, lengths, seldom, which
from tests.actors.traffic_rules import TrafficRules
from tests.actors.world import DAY


class Machine(ControlRules, TrafficRules):
    """A strict account."""

    # -- time and restarts -----------------------------------------------------------------------------------------

    @precondition(has_sessions)
    @rule(one=which, length=lengths, is_swept=st.booleans(), is_failing=st.booleans())
    def wait(self, *, one: int, length: float | None, is_swept: bool, is_failing: bool) -> None:
        """Let time pass until about the end of a session; without a sweep nobody notices that it came."""
        self._reach_end(self.chosen(one), length)
        if is_swept and is_failing:
            self._sweep(is_failing=True)
        if is_swept:
            self._sweep(is_failing=False)

    def _sweep(self, *, is_failing: bool) -> None:
        self.world.clock.move(1.0)  # what a sweep could not close is looked at again after that time

        self.ask(self.world.host.sweep(), is_failing=is_failing)

        if not is_failing:
            self.model.close_past_end(self.now)

    @rule(is_long=seldom)
    def restart(self, *, is_long: bool) -> None:
        """Stop, seldom wait for long, and start: no answer changes, but refused events are decided anew."""
        if is_long:
            self._wait_long()
        self.ask(self.world.restart())
        self.model.forget_refusals()
        self.run(self._compare_lists())

    def _wait_long(self) -> None:
        """Let a hundred days pass: what closed before them is erased, what expires then is not."""
        self.world.clock.move(100 * DAY)

        self.ask(self.world.host.erase_old())

        old = self.now - FOREVER.retention_seconds
        for pairing in list(self.model.sessions.values()):
            if not pairing.is_active and pairing.date_ended < old:
                self.model.erase(pairing.sid)

    async def _compare_lists(self) -> None:
        for pairing in self.model.sessions.values():
            page = await self.world.store.interactions_page(pairing.sid, PAGE)
            assert len(page.records) == pairing.interactions


class PermissiveMachine(Machine):
    """An account that may pair the same two twice."""

    is_permissive = True


IS_DEEP: Final = settings.get_current_profile_name() == "deep"

LIMITS: Final = settings(
    max_examples=2_000 if IS_DEEP else 60,
    stateful_step_count=100 if IS_DEEP else 50,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
)


FEWER: Final = settings(LIMITS, max_examples=1_000 if IS_DEEP else 12)
"""Several hosts say the same much more slowly."""


@pytest.mark.timeout(0 if IS_DEEP else 300)
@pytest.mark.parametrize(
    ("machine", "hosts", "limits"),
    [(Machine, 1, LIMITS), (PermissiveMachine, 1, FEWER), (PermissiveMachine, 2, FEWER), (Machine, 3, FEWER)],
    ids=["strict", "permissive", "permissive on two hosts", "strict on three hosts"],
)
def test_hosts_do_what_the_model_says(machine: type[Machine], hosts: int, limits: settings) -> None:
    """Whatever is asked, sent, lost and restarted in whatever order, on however many hosts."""
    of_hosts = type(f"{machine.__name__}On{hosts}", (machine,), {"hosts": hosts})

    run_state_machine_as_test(of_hosts, settings=limits)


@pytest.mark.timeout(0 if IS_DEEP else 300)
def test_a_host_whose_reads_suspend_does_what_the_model_says() -> None:
    """As with a database elsewhere: between a read and what is decided upon it others have their turn."""
    suspending = type("Suspending", (Machine,), {"reads_suspend": True})

    run_state_machine_as_test(suspending, settings=FEWER)
