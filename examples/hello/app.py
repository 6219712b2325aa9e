"""The smallest useful function: says hello, and what it knows about itself."""

import os
import platform

print("cold start: this line is written once in the life of an environment")
count = 0


def handler(event, context):
    global count
    count += 1
    print(f"event: {event}")
    return {
        "message": f"Hello, {event.get('name', 'world')}!",
        "invoke": count,
        "python": platform.python_version(),
        "memory_mb": context.memory_limit_in_mb,
        "left_ms": context.get_remaining_time_in_millis(),
        "uid": os.getuid(),
    }
