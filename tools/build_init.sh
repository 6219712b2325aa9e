#!/bin/sh
# Build the small programs of src/hearth/worker/sandboxes/init (init.c: OCI sandboxes, reaper.c: forked
# ones) for each architecture. Needs gcc and, for the other architecture, its cross compiler:
# gcc-aarch64-linux-gnu or gcc-x86-64-linux-gnu. Run it after a change and commit the results with it.
# With a directory as its argument, they are built in there.
set -eu
cd "$(dirname "$0")/../src/hearth/worker/sandboxes/init"
for machine in x86_64 aarch64; do
    for program in init reaper; do
        result="${1:-.}/$machine"
        [ "$program" = init ] || result="$result-$program"
        "$machine-linux-gnu-gcc" -Os -std=c11 -Wall -Wextra -Werror -ffreestanding -fno-builtin \
            -fno-stack-protector -fno-asynchronous-unwind-tables -nostdlib -static -no-pie \
            -Wl,--build-id=none,-z,noseparate-code,-z,noexecstack,-s -o "$result" "$program.c"
        "$machine-linux-gnu-strip" --remove-section=.comment "$result"
        chmod 755 "$result"
    done
done
