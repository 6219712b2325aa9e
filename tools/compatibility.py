"""Is docs/compatibility.md what the table of operations says? Writes it; `--check` only looks."""

import sys
from pathlib import Path

from hearth.api.compatibility import page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"


def main() -> int:
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
        return 0
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    print(f"{PAGE.name} is stale: run tools/compatibility.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
