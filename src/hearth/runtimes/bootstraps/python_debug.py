"""The first thing that runs in a Python function that is debugged: the debugger, then all as ever.

Nothing of the function is imported before a debugger is attached, so that breakpoints in its
initialisation hold too.
"""

import os
import sys


def main() -> None:
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    import debugpy

    debugpy.configure(python=sys.executable, subProcess=False)
    debugpy.listen(("127.0.0.1", 5678))
    debugpy.wait_for_client()

    import bootstrap  # type: ignore[import-not-found]

    bootstrap.main()


if __name__ == "__main__":
    main()
