"""What would forks of one process draw alike, and how does each come to draw on its own?

Standard library only, and little of it: a zygote keeps what it has imported.
"""

import os
import sys
import threading


def renew() -> None:
    """Each of these but numpy notices a fork by itself; this is for those of its siblings that
    might not. Generators that a function made itself are not known here."""
    random = sys.modules.get("random")
    if random is not None:
        random.seed()
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        _reseed(numpy_random)
    set_native_id = getattr(threading.main_thread(), "_set_native_id", None)
    if set_native_id is not None:  # Python forgets to, before 3.12
        set_native_id()


def _reseed(numpy_random: object) -> None:
    seed = getattr(numpy_random, "seed", None)
    if seed is not None:
        try:
            seed()
        except TypeError:  # the function has put a generator of another kind there: its own
            return
