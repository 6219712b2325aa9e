"""Which tags does a resource have? Those it was created with, until someone changes them.

A function's first tags are in its own record. The first change moves them to a document, so that
tagging never changes the configuration, and its sandboxes go on serving.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hearth.control.documents import AccountScope, Document, Documents, Kind
from hearth.control.validation import check_new_tags, check_tag_number
from hearth.model.errors import InvalidParameterValue
from hearth.model.functions import FunctionVersion


@dataclass(frozen=True, slots=True)
class TagSet:
    tags: dict[str, str] = field(default_factory=dict)


TAGS = Kind("tags", TagSet)

Change = Callable[[Mapping[str, str]], dict[str, str]]
TagsListener = Callable[[FunctionVersion, Mapping[str, str], Mapping[str, str]], None]
"""Told $LATEST, and its function's tags before and after."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """What can have tags: a function, or something of an account by its id."""

    owner: FunctionVersion | AccountScope
    id: str | None = None
    first: Mapping[str, str] = field(default_factory=dict)
    """What it was created with, where that is not in a document."""


def tagged_function(function: FunctionVersion) -> Tagged:
    return Tagged(function, None, function.tags)


class Tagging:
    def __init__(
        self, documents: Documents, refusal: Callable[[Mapping[str, str]], str] = lambda _: ""
    ) -> None:
        """`refusal` says why a function may not have these tags; empty if it may."""
        self._documents = documents
        self._refusal = refusal
        self._listeners: list[TagsListener] = []

    def on_change(self, listener: "TagsListener") -> None:
        """Call it when a function has got other tags."""
        self._listeners.append(listener)

    def of(self, resource: Tagged) -> Mapping[str, str]:
        held = self._documents.get(TAGS, resource.owner, resource.id)
        return resource.first if held is None else held.tags

    def of_function(self, function: FunctionVersion) -> Mapping[str, str]:
        return self.of(tagged_function(function))

    async def add(self, resource: Tagged, tags: Mapping[str, str]) -> None:
        """Raises InvalidParameterValue if the resource would have too many, or it refuses one."""
        check_new_tags(tags)
        if isinstance(resource.owner, FunctionVersion) and (why := self._refusal(tags)):
            raise InvalidParameterValue(why)
        await self._change(resource, lambda now: {**now, **tags})

    async def remove(self, resource: Tagged, names: set[str]) -> None:
        """What is not there need not be removed."""
        await self._change(
            resource, lambda now: {name: now[name] for name in now if name not in names}
        )

    async def forget(self, resource: Tagged) -> None:
        """The resource is gone. A function's tags go with it by themselves."""
        await self._documents.delete(TAGS, resource.owner, resource.id)

    async def _change(self, resource: Tagged, change: Change) -> None:
        def decide(before: Document[TagSet] | None) -> TagSet | None:
            now = resource.first if before is None else before.value.tags
            after = change(now)
            check_tag_number(after)
            if before is not None and after == now:
                return before.value
            return TagSet(after)

        before = self.of(resource)
        await self._documents.change(TAGS, resource.owner, decide, resource.id)
        if isinstance(resource.owner, FunctionVersion):
            for listener in self._listeners:
                listener(resource.owner, before, change(before))
