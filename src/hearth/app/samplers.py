"""What does OTEL_TRACES_SAMPLER say of a trace? The six samplers that the specification names.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from typing import Final

RATIO: Final = "traceidratio"
PARENT_BASED: Final = "parentbased_"
DEFAULT: Final = "parentbased_always_on"
NAMES: Final = tuple(
    prefix + name for prefix in ("", PARENT_BASED) for name in ("always_on", "always_off", RATIO)
)


class OtelSampler:
    """Raises ValueError, saying what the two must be."""

    def __init__(self, name: str = DEFAULT, argument: str = "") -> None:
        if name not in NAMES:
            raise ValueError(f"OTEL_TRACES_SAMPLER must be one of {', '.join(NAMES)}, not {name!r}")
        self._is_parent_based = name.startswith(PARENT_BASED)
        kind = name.removeprefix(PARENT_BASED)
        ratio = {"always_on": 1.0, "always_off": 0.0}.get(kind)
        if ratio is None:
            ratio = _ratio(argument or "1")
        self._bound = round(ratio * (1 << 64))

    def samples(self, trace: str, parent: bool | None) -> bool:
        if self._is_parent_based and parent is not None:
            return parent
        return int(trace[16:], 16) < self._bound


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not {text!r}")
    return ratio
