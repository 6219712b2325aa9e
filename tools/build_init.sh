#!/bin/sh
# Build the init of OCI sandboxes (src/hearth/worker/sandboxes/init/init.c) for each architecture.
# Needs gcc and, for the other architecture, its cross compiler: gcc-aarch64-linux-gnu or
# gcc-x86-64-linux-gnu. Run it after a change of init.c and commit the results with it.
set -eu
cd "$(dirname "$0")/../src/hearth/worker/sandboxes/init"
for machine in x86_64 aarch64; do
    "$machine-linux-gnu-gcc" -Os -std=c11 -Wall -Wextra -Werror -ffreestanding -fno-builtin \
        -fno-stack-protector -fno-asynchronous-unwind-tables -nostdlib -static -no-pie \
        -Wl,--build-id=none,-z,noseparate-code,-z,noexecstack,-s -o "$machine" init.c
    "$machine-linux-gnu-strip" --remove-section=.comment "$machine"
    chmod 755 "$machine"
done
