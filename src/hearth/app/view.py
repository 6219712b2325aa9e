"""What do `hearth status`, `hearth ps` and `hearth down` see and do?"""

import asyncio
import os
from collections.abc import Sequence

from hearth import __version__
from hearth.api.admin import SandboxRow, SnapshotRow, StatusReport, StemReport, StemRow
from hearth.app.choices import stems_of
from hearth.app.parts import Parts
from hearth.settings import Settings
from hearth.worker.sandboxes.stems import StemStatistics
from hearth.worker.snapshots import SnapshotStatus

MB = 1024 * 1024


class View:
    """The platform as its owner sees it."""

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        endpoint: str,
        metrics: str | None,
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._endpoint = endpoint
        self._metrics = metrics
        self._stop = stop
        self._began_s = parts.clock.monotonic_s()

    def stop(self) -> None:
        self._stop.set()

    def report(self) -> StatusReport:
        parts, settings = self._parts, self._settings
        sandboxes = parts.manager.sandboxes()
        return StatusReport(
            version=__version__,
            pid=os.getpid(),
            endpoint=self._endpoint,
            metrics=self._metrics,
            state=str(settings.state),
            auth=settings.auth.value,
            sandbox=parts.backend.name,
            uptime_s=parts.clock.monotonic_s() - self._began_s,
            functions=len(parts.replica.everything()),
            sandboxes=len(sandboxes),
            sandboxes_busy=sum(s.state in {"busy", "finishing"} for s in sandboxes),
            concurrency_used=parts.counter.in_use,
            concurrency_max=settings.account_concurrency,
            invokes=parts.worker.invokes,
            log_lines_lost=parts.logs.lines_lost,
            stems=_stem_report(stems_of(parts.backend)),
            snapshots=[_snapshot_row(seen) for seen in parts.worker.snapshots.status()],
        )

    def rows(self) -> Sequence[SandboxRow]:
        memory = self._parts.worker.memory()
        rows = []
        for status in self._parts.manager.sandboxes():
            used = memory.get(status.sandbox) if status.sandbox else None
            rows.append(
                SandboxRow(
                    sandbox=status.sandbox or "",
                    account=status.function.account,
                    region=status.function.region,
                    function=status.function.name,
                    version=status.version,
                    tenant=status.tenant,
                    state="frozen" if used and used.is_frozen else status.state,
                    age_s=status.age_s,
                    memory_bytes=used.used_bytes if used else 0,
                    memory_max_bytes=used.limit_mb * MB if used else 0,
                    invokes=status.invokes,
                )
            )
        return rows


def _snapshot_row(seen: SnapshotStatus) -> SnapshotRow:
    template = seen.template
    return SnapshotRow(
        account=seen.key.account,
        region=seen.key.region,
        function=seen.key.name,
        version=seen.version,
        waiting=seen.waiting,
        has_template=template is not None,
        template_bytes=template.memory_bytes if template else 0,
        forks=template.forks if template else 0,
        why_not=seen.why_not,
    )


def _stem_report(seen: StemStatistics) -> StemReport:
    return StemReport(
        kinds=[
            StemRow(account=k.account, runtime=k.runtime, ready=k.ready, wanted=k.wanted)
            for k in seen.kinds
        ],
        taken=seen.taken,
        missed=seen.missed,
        made=seen.made,
        failed=seen.failed,
        ended=seen.ended,
        make_ms=round(seen.make_s * 1000, 2),
        memory_mb=seen.memory_mb,
        memory_mb_max=seen.memory_mb_max,
    )
