"""When do sandboxes serve no more? When nothing that can be invoked has their configuration."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from hearth.control.replica import Replica
from hearth.model.functions import FunctionVersion, configuration_id
from hearth.model.ids import FunctionKey
from hearth.model.isolation import ISOLATION_TAG, NETWORK_TAG, SANDBOX_TAG
from hearth.worker.snapshots import Snapshots
from hearth.worker_manager.manager import WorkerManager


class Retirement:
    """Listens to the local copy. A version's sandboxes outlive every change of $LATEST."""

    def __init__(
        self, manager: WorkerManager, replica: Replica, snapshots: Snapshots | None = None
    ) -> None:
        self._manager = manager
        self._replica = replica
        self._snapshots = snapshots

    def changed(self, old: FunctionVersion | None, new: FunctionVersion | None) -> None:
        if old is not None and (new is None or configuration_id(old) != configuration_id(new)):
            self._retire(old.key)

    def qualified(self, latest: FunctionVersion, qualifiers: AbstractSet[str]) -> None:
        if any(self._replica.qualified(latest.key, one) is None for one in qualifiers):
            self._retire(latest.key)

    def tagged(
        self, latest: FunctionVersion, before: Mapping[str, str], after: Mapping[str, str]
    ) -> None:
        """Tags say how a function is isolated: what was made for other ones serves no more."""
        if _isolation(before) != _isolation(after):
            self._manager.renew(latest.key)
            self._forget_snapshots(latest.key, ())

    def _retire(self, key: FunctionKey) -> None:
        latest = self._replica.serving(key)
        versions = self._replica.versions(key)
        alive = versions if latest is None else (latest, *versions)
        self._manager.retire(key, frozenset(configuration_id(version) for version in alive))
        self._forget_snapshots(key, alive)

    def _forget_snapshots(self, key: FunctionKey, alive: Iterable[FunctionVersion]) -> None:
        if self._snapshots is not None:
            self._snapshots.forget(key, alive)


def exists(replica: Replica, version: FunctionVersion) -> bool:
    """Whether it was not deleted, nor its function with it."""
    now = replica.qualified(version.key, version.version) or replica.get(version.key)
    return (
        isinstance(now, FunctionVersion)
        and now.version == version.version
        and now.instance_id == version.instance_id
    )


def _isolation(tags: Mapping[str, str]) -> list[str | None]:
    return [tags.get(name) for name in (ISOLATION_TAG, SANDBOX_TAG, NETWORK_TAG)]
