"""How many events were received, settled, dropped? AWS's metrics of events, since the start."""

from collections import Counter
from dataclasses import dataclass, field

from hearth.model.events import AsyncEvent, Condition, Delivery, TargetKind
from hearth.model.ids import FunctionKey


@dataclass(slots=True)
class Tally:
    """A Meter that adds up. Each by function."""

    async_events_received: Counter[FunctionKey] = field(default_factory=Counter)
    async_events_dropped: Counter[tuple[FunctionKey, Condition]] = field(default_factory=Counter)
    recursive_invocations_dropped: Counter[FunctionKey] = field(default_factory=Counter)
    dead_letter_errors: Counter[FunctionKey] = field(default_factory=Counter)
    destination_delivery_failures: Counter[FunctionKey] = field(default_factory=Counter)
    deliveries: Counter[FunctionKey] = field(default_factory=Counter)
    settlements: Counter[tuple[FunctionKey, Condition]] = field(default_factory=Counter)
    attempts: Counter[FunctionKey] = field(default_factory=Counter)
    ages_ms: Counter[FunctionKey] = field(default_factory=Counter)
    """Added up over all attempts: AsyncEventAge is this over `attempts`."""

    def received(self, key: FunctionKey) -> None:
        self.async_events_received[key] += 1

    def started(self, event: AsyncEvent, age_s: float) -> None:
        self.attempts[event.key] += 1
        self.ages_ms[event.key] += int(age_s * 1000)

    def settled(self, key: FunctionKey, condition: Condition) -> None:
        self.settlements[key, condition] += 1

    def dropped(self, key: FunctionKey, condition: Condition) -> None:
        self.async_events_dropped[key, condition] += 1

    def stopped_recursion(self, key: FunctionKey) -> None:
        self.recursive_invocations_dropped[key] += 1

    def delivered(self, delivery: Delivery) -> None:
        self.deliveries[delivery.settlement.event.key] += 1

    def delivery_failed(self, delivery: Delivery) -> None:
        key = delivery.settlement.event.key
        if delivery.kind is TargetKind.DEAD_LETTER:
            self.dead_letter_errors[key] += 1
        else:
            self.destination_delivery_failures[key] += 1
