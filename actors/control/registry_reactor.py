"""Makes, changes and ends actors as the registry of accounts, services and numbers changes."""

from collections.abc import Callable

from actors.control.services import ServiceRegister
from actors.kernel.registry import Registry
from actors.traffic.directory import Directory
from engine.core.model.changes import (
    AccountSaved,
    NumberReleased,
    NumberSaved,
    RegistryChange,
    ServiceErased,
    ServiceSaved,
)
from engine.core.model.records import ProxyNumber


class RegistryReactor:
    """Makes the coordinators and number actors of a host follow the registry."""

    def __init__(
        self,
        registry: Registry,
        directory: Directory,
        services: ServiceRegister,
        *,
        service_gone: Callable[[str], None],
    ) -> None:
        """Follow a registry from now on; `service_gone` gets a service that is erased."""
        self._registry = registry
        self._directory = directory
        self._services = services
        self._service_gone = service_gone
        registry.changing = self._prepare
        registry.changed = self._follow

    def load(self) -> None:
        """Make the actors of all that the registry holds."""
        for service in self._registry.services.values():
            self._services.take_up(service)
        for number in self._registry.numbers.values():
            self._join(number)

    def _prepare(self, change: RegistryChange) -> None:
        """Part a number from where it was, and a service that is about to be erased from its numbers."""
        match change:
            case NumberSaved(number):
                before = self._registry.numbers.get(number.sid)
                if before is not None and before.service_sid != number.service_sid:
                    self._part(before)
            case NumberReleased(number_sid):
                before = self._registry.numbers.get(number_sid)
                if before is not None:
                    self._part(before)
            case ServiceErased(service_sid):
                for number in self._registry.numbers_of(service_sid):
                    self._directory.close(number.address)
                self._services.let_go(service_sid)
                self._service_gone(service_sid)
            case _:
                pass

    def _follow(self, change: RegistryChange) -> None:
        registry = self._registry
        match change:
            case NumberSaved(number):
                self._join(number)
            case ServiceSaved(service):
                self._services.take_up(service)
                self._directory.refresh(registry.numbers_of(service.sid))
            case AccountSaved(account):
                numbers = registry.numbers.values()
                self._directory.refresh(
                    number for number in numbers if number.account_sid == account.sid and number.service_sid is not None
                )
            case _:
                pass

    def _join(self, number: ProxyNumber) -> None:
        if number.service_sid is None:
            return
        coordinator = self._services.find(number.service_sid)
        if coordinator is not None:
            coordinator.number_joined(number)
        self._directory.open(number)

    def _part(self, number: ProxyNumber) -> None:
        coordinator = self._services.find(number.service_sid or "")
        if coordinator is not None:
            coordinator.number_left(number.sid)
        self._directory.close(number.address)
