"""hearth deploy --watch, with a deployment that says what the test wants."""

from pathlib import Path

import pytest

from hearth.cli.admin_client import Gone
from hearth.cli.output import Failure
from hearth.cli.watch import watch


class Deployment:
    """Nobody is there; then it works; then it is refused; then the user has had enough."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._turns = iter((self._gone, self._gone, self._works, self._refused, self._ended))

    def __call__(self) -> None:
        next(self._turns)()

    def _gone(self) -> None:
        raise Gone("Hearth is not running.")

    def _works(self) -> None:
        self._file.write_text("changed while it was deployed")

    def _refused(self) -> None:
        self._file.write_text("changed while it was refused, too")
        raise Failure("Too large.")

    def _ended(self) -> None:
        raise KeyboardInterrupt


def test_what_nobody_took_is_deployed_when_somebody_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "app.py"
    file.touch()
    watch(tmp_path, Deployment(file), {})
    said = [line.partition(" after ")[0] for line in capsys.readouterr().err.splitlines()]
    assert said[1:] == [
        "Changed: app.py",
        "Not deployed yet: Hearth is not running.",
        "Live",
        "Changed: app.py",
        "Not deployed: Too large.",
        "Changed: app.py",
        "Not watching any more; the function stays.",
    ]
