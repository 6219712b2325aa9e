# shellcheck shell=sh
# Read once, when the sandbox starts. What is in variables stays for the next event.
if [ -n "${FAIL_INIT:-}" ]; then
    echo "asked to fail at the start" >&2
    return 1
fi
count=0

handler() {
    count=$((count + 1))
    if grep -q '"fail"' "$1"; then
        echo "asked to fail" >&2
        return 1
    fi
    if grep -q '"sleep"' "$1"; then sleep 60; fi
    if grep -q '"exit"' "$1"; then exit 3; fi
    printf '{"count": %s, "greeting": "%s", "event": ' "$count" "${GREETING:-}"
    cat "$1"
    printf '}'
}
