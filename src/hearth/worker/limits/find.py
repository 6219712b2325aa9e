"""Which way of limiting does this machine offer? The best one is taken: v2, v1, watched."""

from hearth.base.log import Log
from hearth.worker.limits.cgroup_v1 import CgroupV1
from hearth.worker.limits.cgroup_v2 import CgroupV2
from hearth.worker.limits.contract import Limits
from hearth.worker.limits.hierarchy import own_groups
from hearth.worker.limits.watched import Watched

log = Log("limits")


def find_limits(instance: str) -> Limits:
    """Also removes what dead workers of the same instance left behind."""
    try:
        hierarchies = own_groups()
    except OSError as error:
        log.info("no cgroups", error=str(error))
        return Watched()
    for kind in (CgroupV2, CgroupV1):
        try:
            return kind.open(hierarchies, instance)
        except OSError as error:
            log.debug("limits not available", kind=kind.memory, error=str(error))
    return Watched()
