"""For all tests: in CI, Hypothesis tries the same examples each time.

What random examples find is found by developers, who can replay it; a run in CI says something of
the change that it runs for. See docs/decisions/0023-tests-on-shared-machines.md.
"""

import os

from hypothesis import HealthCheck, settings

# How fast data is made says how busy the machine is, and nothing about the product.
_HERE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("here", _HERE)
settings.register_profile("ci", _HERE, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
