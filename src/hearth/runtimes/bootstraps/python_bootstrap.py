"""The first thing that runs in a Python function's sandbox: search path, then AWS's own client.

Runs under the function's interpreter with `-S`: nothing that the host has installed may leak in,
and `site` costs a third of a cold start. What `site` gives to everybody's code (`exit`, `quit`,
`help`) is put back. Search order as Lambda documents it: task root, layers, runtime, standard
library. https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath
"""

import os
import sys


def main() -> None:
    task = os.environ["LAMBDA_TASK_ROOT"]
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    first = [task, f"/opt/python/lib/{version}/site-packages", "/opt/python"]
    sys.path[:] = first + [entry for entry in sys.path if entry not in first]

    import _sitebuiltins
    import builtins

    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()  # noqa: SLF001

    from awslambdaric import bootstrap
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

    # AWS polls from a thread in newer Pythons, since its compiled transport would keep signals
    # from the function while it waits. Ours does not, and a thread per invoke is dear.
    client = LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"], False)
    bootstrap.run(os.environ["_HANDLER"], client)


main()
