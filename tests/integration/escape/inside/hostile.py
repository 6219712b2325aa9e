"""What can a hostile function see and reach? Run inside a sandbox; prints one JSON object.

argv[1] is JSON: what is there on the host to be reached. `facts` is what it sees, `attempts` what
it tried and what came of it: attempts.py, beside this directory, has what is expected, and why.
"""

import json
import sys
import time

from integration.escape.inside import appetite, calls, files, look, native, network, who
from integration.escape.inside.common import attempts, facts


def main() -> None:
    missing = look.missing()
    if not missing:
        for part in (who, files, network, calls, native, appetite):
            part.run()
    report = {"missing": missing, "facts": facts, "attempts": attempts}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    if not missing:
        time.sleep(600)  # be looked at from outside, until killed


main()
