"""What is a debugger of a runtime? Where it listens inside a sandbox."""

from typing import Final

TIMEOUT_S: Final = 86_400
"""Of a function that is debugged, instead of its own; of its initialisation too."""
MEMORY_MB: Final = 256
"""What the debugger may take besides the function."""
DEBUGPY: Final = "debugpy"
INSPECTOR: Final = "inspector"
PORTS: Final = {DEBUGPY: 5678, INSPECTOR: 9229}
"""Inside the sandbox, and by default outside."""


def debugger_of(runtime: str) -> str | None:
    """None: it has none here."""
    if runtime.startswith("python"):
        return DEBUGPY
    return INSPECTOR if runtime.startswith("nodejs") else None
