"""Which processes are whose? What the launcher reads in its /proc. Standard library only."""

from pathlib import Path


def children_of(parent: int) -> dict[int, str]:
    """Living children by pid, with the name of the file that each executes."""
    wanted = str(parent)
    children = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue  # it ended while we looked
        before, _, after = stat.rpartition(")")
        if after.split()[1] == wanted:
            children[int(entry.name)] = before.partition("(")[2]
    return children
