"""Where do traces go with these settings, and how is that wired? Nothing is made where nowhere."""

import asyncio
from contextlib import AsyncExitStack

from hearth.app.choices import instance_of, new_span_id
from hearth.app.samplers import OtelSampler
from hearth.app.span_queue import Exporter, SpanQueue
from hearth.app.tracing import Tracing
from hearth.app.xray import XRayExporter
from hearth.base.clock import SystemClock
from hearth.base.log import Log
from hearth.frontend.sampling import Sampling
from hearth.settings import Settings, StartRefused, read_client_settings

log = Log("traces")


def open_tracing(
    settings: Settings, clock: SystemClock, stack: AsyncExitStack
) -> tuple[Sampling, Tracing | None]:
    """Who decides what is sampled, and what becomes of that; None: only functions see it.

    `stack` hands over what is there at the end. Raises StartRefused.
    """
    exporters: list[Exporter] = []
    sampler = None
    if settings.otlp is not None and (otlp := _otlp(settings)) is not None:
        try:
            sampler = OtelSampler(settings.otlp.sampler, settings.otlp.sampler_argument)
        except ValueError as error:
            raise StartRefused(f"{error}.") from error
        exporters.append(otlp)
    if (endpoint := settings.endpoints.find("xray")) is not None:
        exporters.append(XRayExporter(endpoint, read_client_settings(), settings.region))
    sampling = Sampling(clock.monotonic_s, new_span_id, sampler)
    if not exporters:
        return sampling, None
    queues = tuple(SpanQueue(exporter, clock) for exporter in exporters)

    async def close() -> None:
        await asyncio.gather(*(asyncio.to_thread(queue.close) for queue in queues))

    stack.push_async_callback(close)
    samples = _never if sampler is None else sampler.samples
    return sampling, Tracing(queues=queues, clock=clock, samples=samples)


def _never(_trace: str, _parent: bool | None) -> bool:
    return False


def _otlp(settings: Settings) -> Exporter | None:
    assert settings.otlp is not None
    try:
        from hearth.app.otlp import OtlpExporter

        exporter = OtlpExporter(settings.otlp.endpoint, instance_of(settings.state))
    except ImportError as error:
        if settings.otlp.is_asked_for:
            raise StartRefused(
                "--otlp needs OpenTelemetry's exporter, which is not installed. Add it with: "
                "pip install 'hearth-lambda[otlp]'"
            ) from error
        log.warning("no traces: OpenTelemetry's exporter is not installed", why=error)
        return None
    log.info("traces are exported", to=settings.otlp.endpoint, sampler=settings.otlp.sampler)
    return exporter
