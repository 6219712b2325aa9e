"""Is docs/escape-probe.md what the table of attempts says? Writes it; `--check` only looks."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "escape-probe.md"


def main() -> int:
    sys.path.insert(0, str(ROOT / "tests"))
    from integration.escape.attempts import page

    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
        return 0
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    print(f"{PAGE.name} is stale: run tools/escape_probe.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
