/* Pid 1 of a forked sandbox, once its program runs: reaps what ends, until the program does. It takes
 * the place of the interpreter that made the sandbox, and gives back the memory of that.
 *
 *   reaper PID STATUS FAILED   PID is the program, our child. When it has ended, STATUS, a socket, is
 *                              told how, as JSON; and that it was never executed, if there is
 *                              something to be read from FAILED. Then we end, and all else with us.
 *
 * Whoever executes it may not read its file, so that nobody may look into the process at any moment.
 * Built by tools/build_init.sh; the results lie beside this file.
 */

#include "calls.h"

enum { PR_SET_DUMPABLE = 4, PR_SET_NAME = 15, EINTR = 4 };

static char text[64];

static word number(const char *digits)
{
    word value = 0;
    while (*digits >= '0' && *digits <= '9')
        value = value * 10 + (word)(*digits++ - '0');
    return value;
}

static char *append(char *at, const char *more)
{
    while (*more)
        *at++ = *more++;
    return at;
}

static char *append_number(char *at, word value)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

__attribute__((noreturn)) static void leave(int code)
{
    for (;;)
        call(NR_exit_group, (word)code, 0, 0, 0, 0);
}

__attribute__((noreturn, used)) void begin(word *stack)
{
    char **argv = (char **)(stack + 1);
    int status = 0;
    byte one;
    if (stack[0] != 4)
        leave(125);
    call(NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    call(NR_prctl, PR_SET_NAME, (word) "init", 0, 0, 0);
    for (;;) {
        long pid = call(NR_wait4, (word)-1, (word)&status, 0, 0, 0);
        if (pid == (long)number(argv[1]))
            break;
        if (pid < 0 && pid != -EINTR)
            leave(126);
    }
    char *end = append_number(append(text, "{\"ended\":"), (word)(unsigned)status);
    int failed = call(NR_read, number(argv[3]), (word)&one, 1, 0, 0) == 1;
    end = append(end, failed ? ",\"executed\":false}" : ",\"executed\":true}");
    call(NR_write, number(argv[2]), (word)text, (word)(end - text), 0, 0);
    leave(0);
}
