"""For all tests: in CI, Hypothesis tries the same examples each time.

What random examples find is found by developers, who can replay it; a run in CI says something of
the change that it runs for. See docs/decisions/0023-tests-on-shared-machines.md.
"""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
