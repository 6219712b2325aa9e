"""How much of the account's concurrency is a function's own? Reservations, and their bounds.

A reservation is a document of the function. Whatever way it changes (a call here, a start, a
deletion of the function), the counter hears of it in the same turn of the loop, so an invoke asks
nobody. The bounds concern all functions of the account together, so the changes of one account
come one after the other.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html. Texts:
recorded; the minimum that must stay unreserved is the account's limit where that is below 100, as
users of AWS with small accounts are told.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Protocol
from weakref import WeakValueDictionary

from hearth.control.documents import Documents, Kind, Place
from hearth.control.replica import Replica
from hearth.model import limits
from hearth.model.errors import InvalidParameterValue
from hearth.model.functions import FunctionVersion
from hearth.model.ids import AccountId, FunctionKey, Region


@dataclass(frozen=True, slots=True)
class Reservation:
    amount: int


@dataclass(frozen=True, slots=True)
class Provisioning:
    """What was asked for, of one version or alias; what came of it is not stored."""

    requested: int
    modified: datetime
    """Aware, UTC."""


RESERVATIONS: Final = Kind("reserved-concurrency", Reservation)
PROVISIONINGS: Final = Kind("provisioned-concurrency", Provisioning)


class Usage(Protocol):
    @property
    def limit(self) -> int: ...

    @property
    def unreserved(self) -> int: ...


class Counting(Protocol):
    """What this room needs of the counter."""

    def reserve(self, function: FunctionKey, reserved: int | None) -> None: ...

    def usage(self, account: AccountId, region: Region) -> Usage: ...


class OutOfBounds(InvalidParameterValue):
    """AWS sends no Type with what concerns concurrency."""

    blame: ClassVar[str | None] = None


class AccountLocks:
    """One change of an account's concurrency at a time."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[AccountId, Region], asyncio.Lock] = (
            WeakValueDictionary()
        )

    def of(self, key: FunctionKey) -> asyncio.Lock:
        return self._locks.setdefault((key.account, key.region), asyncio.Lock())


class ReservedConcurrency:
    """The reservations of all functions."""

    def __init__(
        self,
        documents: Documents,
        replica: Replica,
        counting: Counting,
        locks: AccountLocks,
    ) -> None:
        self._documents = documents
        self._replica = replica
        self._counting = counting
        self._locks = locks
        documents.on_change(RESERVATIONS, self._document_changed)
        replica.on_change(self._function_changed)

    def get(self, function: FunctionVersion) -> int | None:
        """None where there is no reservation; 0 blocks the function."""
        held = self._documents.get(RESERVATIONS, function)
        return None if held is None else held.amount

    async def put(self, function: FunctionVersion, amount: int) -> None:
        """Raises InvalidParameterValue for what the account, or the function's own provisioned
        concurrency, does not allow."""
        async with self._locks.of(function.key):
            self._check(function, amount)
            await self._documents.put(RESERVATIONS, function, Reservation(amount))

    async def delete(self, function: FunctionVersion) -> None:
        """Also where there is none."""
        async with self._locks.of(function.key):
            await self._documents.delete(RESERVATIONS, function)

    def _check(self, function: FunctionVersion, amount: int) -> None:
        provisioned = total_provisioned(self._documents, function)
        if amount < provisioned:
            raise OutOfBounds(  # the spaces are AWS's
                f" ReservedConcurrentExecutions  {amount} should not be lower than function's "
                f"total provisioned concurrency [{provisioned}]."
            )
        usage = self._counting.usage(function.key.account, function.key.region)
        reserved = self.get(function)
        set_aside = provisioned if reserved is None else reserved
        least = unreserved_min(usage.limit)
        if amount > set_aside and usage.unreserved + set_aside - amount < least:
            raise OutOfBounds(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{least}]."
            )

    def _document_changed(self, place: Place) -> None:
        if place.function is not None:
            self._tell(FunctionKey(place.account, place.region, place.function))

    def _function_changed(self, old: FunctionVersion | None, new: FunctionVersion | None) -> None:
        if old is None or new is None or old.instance_id != new.instance_id:
            function = new or old
            assert function is not None, "one of them is there"
            self._tell(function.key)

    def _tell(self, key: FunctionKey) -> None:
        """The two copies arrive in any order: the last to come tells."""
        function = self._replica.get(key)
        self._counting.reserve(key, None if function is None else self.get(function))


def unreserved_min(account_limit: int) -> int:
    return min(limits.UNRESERVED_CONCURRENCY_MIN, account_limit)


def total_provisioned(documents: Documents, function: FunctionVersion) -> int:
    """Of all versions and aliases of the function."""
    return sum(held.value.requested for held in documents.find_all(PROVISIONINGS, function))
