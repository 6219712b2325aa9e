/* The two small processes around a program in an OCI sandbox. Freestanding: no libc, no heap.
 *
 *   init run FILTER PROGRAM ...   pid 1 inside the container. Descriptor 0 is a pipe to the launcher:
 *                                 two ints go into it when PROGRAM has ended, its wait status and
 *                                 whether it was ever executed. FILTER is a file of seccomp
 *                                 instructions, or "-". PROGRAM's own descriptor 0 is /dev/null.
 *                                 Its environment: the variables that begin with "_", less that.
 *                                 (Runtimes add some of their own.)
 *   init wait FILTER PROGRAM ...  the same, but descriptor 0 is a socket, and PROGRAM has another of it,
 *                                 60: to be told there what it is for, and to close it then.
 *   init keep RUNTIME ...         pid 1 of the namespace around container and runtime: starts
 *                                 RUNTIME, reaps all that is left to it, ends with the last of it.
 *                                 If RUNTIME fails, ends at once, with its exit code.
 *
 * Built by tools/build_init.sh; the results lie beside this file.
 */

#include "calls.h"

enum {
    AT_FDCWD = -100, O_RDONLY = 0, O_RDWR = 2, O_CLOEXEC = 02000000,
    F_SETFD = 2, FD_CLOEXEC = 1, F_DUPFD_CLOEXEC = 1030,
    PR_SET_DUMPABLE = 4, PR_SET_SECCOMP = 22, PR_SET_NO_NEW_PRIVS = 38, PR_SET_NAME = 15,
    SECCOMP_MODE_FILTER = 2, SIGCHLD = 17, EINTR = 4, ENOENT = 2, EACCES = 13, ENOEXEC = 8,
    FILTER_BYTES_MAX = 32768, PATH_BYTES_MAX = 4096,
    WAIT_FD = 60, /* as in messages.py */
};

static byte filter[FILTER_BYTES_MAX];
static char path[PATH_BYTES_MAX];

static word length(const char *text)
{
    word count = 0;
    while (text[count])
        count++;
    return count;
}

static int starts(const char *text, const char *with)
{
    while (*with)
        if (*text++ != *with++)
            return 0;
    return 1;
}

static void say(const char *text)
{
    call(NR_write, 2, (word)text, length(text), 0, 0);
}

__attribute__((noreturn)) static void leave(int code)
{
    for (;;)
        call(NR_exit_group, (word)code, 0, 0, 0, 0);
}

__attribute__((noreturn)) static void fail(const char *what)
{
    say("init: ");
    say(what);
    say("\n");
    leave(125);
}

static long fork_plainly(void)
{
    return call(NR_clone, SIGCHLD, 0, 0, 0, 0);
}

/* Execute argv[0], looked for in PATH if it names no directory; returns why it could not be. */
static long execute(char **argv, char **env)
{
    const char *name = argv[0], *place = "/usr/bin:/bin";
    long error = -ENOENT, found = 0;
    for (const char *at = name; *at; at++)
        if (*at == '/')
            return call(NR_execve, (word)name, (word)argv, (word)env, 0, 0);
    for (char **variable = env; *variable; variable++)
        if (starts(*variable, "PATH="))
            place = *variable + 5;
    while (*name) {
        word count = 0;
        while (*place && *place != ':' && count < PATH_BYTES_MAX / 2)
            path[count++] = *place++;
        if (count)
            path[count++] = '/';
        for (word at = 0; name[at] && count < PATH_BYTES_MAX - 1; at++)
            path[count++] = name[at];
        path[count] = 0;
        error = call(NR_execve, (word)path, (word)argv, (word)env, 0, 0);
        if (error == -EACCES)
            found = error;
        else if (error != -ENOENT)
            return error;
        if (*place != ':')
            break;
        place++;
    }
    return found ? found : error;
}

__attribute__((noreturn)) static void complain(const char *name, long error)
{
    say(name);
    say(error == -ENOENT    ? ": No such file or directory\n"
        : error == -EACCES  ? ": Permission denied\n"
        : error == -ENOEXEC ? ": Exec format error\n"
                            : ": cannot be executed\n");
    leave(1);
}

/* Keep only what was meant for the program, in place. */
static void choose_environment(char **env)
{
    char **kept = env;
    for (; *env; env++)
        if (**env == '_')
            *kept++ = *env + 1;
    *kept = 0;
}

static void confine(const char *file)
{
    struct { unsigned short count; const byte *instructions; } program;
    word size = 0;
    if (file[0] == '-' && !file[1])
        return;
    long fd = call(NR_openat, (word)AT_FDCWD, (word)file, O_RDONLY | O_CLOEXEC, 0, 0);
    if (fd < 0)
        fail("the filter of system calls cannot be opened");
    for (;;) {
        long got = call(NR_read, (word)fd, (word)(filter + size), FILTER_BYTES_MAX - size, 0, 0);
        if (got == -EINTR)
            continue;
        if (got < 0)
            fail("the filter of system calls cannot be read");
        if (got == 0)
            break;
        size += (word)got;
    }
    call(NR_close, (word)fd, 0, 0, 0, 0);
    if (size == 0 || size == FILTER_BYTES_MAX || size % 8)
        fail("the filter of system calls has an unlikely size");
    program.count = (unsigned short)(size / 8);
    program.instructions = filter;
    if (call(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        call(NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (word)&program, 0, 0))
        fail("the filter of system calls cannot be installed");
}

__attribute__((noreturn)) static void run(char **argv, char **env, int waits)
{
    int failed[2], told[2], status = 0;
    long status_pipe = call(NR_fcntl, 0, F_DUPFD_CLOEXEC, 3, 0, 0);
    long null = call(NR_openat, (word)AT_FDCWD, (word) "/dev/null", O_RDWR, 0, 0);
    if (status_pipe < 0 || null < 0 || call(NR_dup3, (word)null, 0, 0, 0, 0) != 0)
        fail("no status pipe, or no /dev/null");
    call(NR_close, (word)null, 0, 0, 0, 0);
    choose_environment(env);
    confine(argv[0]);
    argv++;
    if (call(NR_pipe2, (word)failed, O_CLOEXEC, 0, 0, 0))
        fail("no pipe");
    call(NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0); /* nobody looks into this process */
    long program = fork_plainly();
    if (program < 0)
        fail("no process for the program");
    if (program == 0) {
        /* Dumpable again, or what is executed could not look at its own /proc/self. */
        call(NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
        if (waits && call(NR_dup3, (word)status_pipe, WAIT_FD, 0, 0, 0) != WAIT_FD)
            fail("no descriptor to wait on");
        long error = execute(argv, env);
        call(NR_write, (word)failed[1], (word) "x", 1, 0, 0);
        complain(argv[0], error);
    }
    call(NR_close, (word)failed[1], 0, 0, 0, 0);
    for (;;) {
        long pid = call(NR_wait4, (word)-1, (word)&status, 0, 0, 0);
        if (pid == program)
            break;
        if (pid < 0 && pid != -EINTR)
            fail("the program has vanished");
    }
    byte one;
    told[0] = status;
    told[1] = call(NR_read, (word)failed[0], (word)&one, 1, 0, 0) != 1;
    call(NR_write, (word)status_pipe, (word)told, sizeof told, 0, 0);
    leave(0);
}

__attribute__((noreturn)) static void keep(char **argv, char **env)
{
    int status = 0;
    long runtime = fork_plainly();
    if (runtime < 0)
        fail("no process for the runtime");
    if (runtime == 0)
        complain(argv[0], execute(argv, env));
    for (;;) {
        long pid = call(NR_wait4, (word)-1, (word)&status, 0, 0, 0);
        if (pid == -EINTR)
            continue;
        if (pid < 0)
            leave(0);
        if (pid != runtime)
            continue;
        if (status)
            leave(status & 0x7f ? 126 : status >> 8 & 0xff);
        /* From now on init alone holds the status pipe: its end is the container's. */
        call(NR_close, 0, 0, 0, 0, 0);
    }
}

__attribute__((noreturn, used)) void begin(word *stack)
{
    word count = stack[0];
    char **argv = (char **)(stack + 1);
    char **env = argv + count + 1;
    if (count > 2 && starts(argv[1], "keep"))
        keep(argv + 2, env);
    if (count > 3 && starts(argv[1], "run"))
        run(argv + 2, env, 0);
    if (count > 3 && starts(argv[1], "wait"))
        run(argv + 2, env, 1);
    fail("what is to be done?");
}
