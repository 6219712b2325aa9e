"""Whose function URL is this? By the id in it, from this process's own copy of the metadata.

The index is made anew when somebody asks for an id that it has not and anything has changed since:
functions are many and their URLs few. What an entry says is looked at again before it counts.
"""

from dataclasses import dataclass

from hearth.base.log import Log
from hearth.control.documents import Documents, Place
from hearth.control.function_urls import URLS, FunctionUrl
from hearth.control.replica import Replica
from hearth.model.errors import InternalFailure
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey

log = Log("control")


@dataclass(frozen=True, slots=True)
class FoundUrl:
    function: FunctionVersion
    """$LATEST, whatever the URL runs."""
    alias: str | None
    url: FunctionUrl


class UrlIndex:
    def __init__(self, documents: Documents, replica: Replica) -> None:
        self._documents = documents
        self._replica = replica
        self._places: dict[str, tuple[FunctionKey, str | None]] = {}
        self._is_stale = True
        documents.on_change(URLS, self._url_changed)
        replica.on_change(self._function_changed)

    def find(self, url_id: str) -> FoundUrl | None:
        found = self._look(url_id)
        if found is None and self._is_stale:
            self._rebuild()
            found = self._look(url_id)
        return found

    def _look(self, url_id: str) -> FoundUrl | None:
        place = self._places.get(url_id)
        if place is None:
            return None
        key, alias = place
        function = self._replica.get(key)
        url = None if function is None else self._documents.get(URLS, function, alias)
        if function is None or url is None or url.id != url_id:
            return None
        return FoundUrl(function, alias, url)

    def _rebuild(self) -> None:
        self._is_stale = False
        self._places = {}
        for function in self._replica.everything():
            try:
                documents = self._documents.find_all(URLS, function)
            except InternalFailure as error:  # a newer Hearth's: the other URLs must work
                log.error("function URLs cannot be read", function=function.key.arn(), error=error)
                continue
            for document in documents:
                self._places[document.value.id] = function.key, document.qualifier

    def _url_changed(self, _place: Place) -> None:
        self._is_stale = True

    def _function_changed(self, old: FunctionVersion | None, new: FunctionVersion | None) -> None:
        if old is None or new is None or old.instance_id != new.instance_id:
            self._is_stale = True
