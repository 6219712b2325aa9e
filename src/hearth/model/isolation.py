"""How does a function say how it wants to be isolated? By tags, which every AWS tool can set.

hearth:isolation = strict     a fresh process for each sandbox: nothing that it has in common
                              with others of its account comes from a fork
"""

from collections.abc import Mapping
from typing import Final

ISOLATION_TAG: Final = "hearth:isolation"
STRICT: Final = "strict"


def is_strict(tags: Mapping[str, str]) -> bool:
    return tags.get(ISOLATION_TAG, "").strip().lower() == STRICT
