# shellcheck shell=sh
# Read once, when the sandbox starts. What is in variables stays for the next event.
if [ -n "${FAIL_INIT:-}" ]; then
    echo "asked to fail at the start" >&2
    return 1
fi
count=0
STREAMS=streams

handler() {
    count=$((count + 1))
    if grep -q '"fail"' "$1"; then
        echo "asked to fail" >&2
        return 1
    fi
    if grep -q '"sleep"' "$1"; then sleep 60; fi
    if grep -q '"exit"' "$1"; then exit 3; fi
    if grep -q '"environment"' "$1"; then
        environment
    elif grep -q '"layer"' "$1"; then
        printf '"%s"' "$(who-in-the-layer)" # a program that a layer has put into /opt/bin
    else
        printf '{"count": %s, "greeting": "%s", "event": ' "$count" "${GREETING:-}"
        cat "$1"
        printf '}'
    fi
}

# As JSON; of values with line breaks, the first line.
environment() {
    env | sed -n 's/[\\"]/\\&/g; s/^\([A-Za-z_][A-Za-z0-9_]*\)=\(.*\)$/"\1": "\2"/p' |
        paste -sd, | sed 's/.*/{&}/'
}

streams() {
    printf 'first,'
    if grep -q '"fail"' "$1"; then
        echo "asked to fail" >&2
        return 1
    fi
    printf 'second'
}
