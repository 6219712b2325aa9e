"""The wiring: the only place that knows every room.

run.py       builds Hearth, serves, takes it apart
choices.py   which sandbox, which address, which runtimes: from settings to parts
view.py      what `hearth status` and `hearth ps` see
doctor.py    what this machine gives
"""

from hearth.app.doctor import diagnose, prepare_runtime, survey_runtimes
from hearth.app.run import run

__all__ = ["diagnose", "prepare_runtime", "run", "survey_runtimes"]
