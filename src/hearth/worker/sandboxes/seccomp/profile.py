"""Which system calls may a function make? An allow-list, as data.

Everything not named here fails with EPERM - but a call newer than our tables with ENOSYS, so that
a newer libc falls back. tools/build_seccomp.py compiles it to the .bpf files beside this one, one
for each architecture; a test checks that they are what it builds, others what they answer. Names
that an architecture does not have are left out there.

REASONS says why each group is there. Left out on purpose, because no function needs them and the
kernel behind them is large or has often been broken: ptrace and process_vm_* (other processes'
memory), io_uring, userfaultfd, bpf, perf_event_open, keyrings, everything that makes or joins
namespaces or mounts, file handles, personality, moving memory between NUMA nodes, modules, clocks,
reboot, quotas, fanotify, raw I/O ports, and the 32-bit and x32 variants of all calls.
"""

from typing import Final

# /usr/include/asm-generic/errno.h
EPERM: Final = 1
ENOSYS: Final = 38

# Each architecture as `uname -m` has it, and as the kernel tells it to a filter (AUDIT_ARCH_*).
ARCHITECTURES: Final = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
X32_BIT: Final = 0x4000_0000  # on x86_64, marks the calls of yet another ABI

FILES: Final = """
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl
    fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate
    futimesat getcwd getdents getdents64 getxattr getxattrat lchown lgetxattr link linkat listxattr
    listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat
    newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
    read readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2
    rmdir sendfile setxattr setxattrat splice stat statfs statx symlink symlinkat sync
    sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes write writev
"""

WAITING: Final = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit poll ppoll pselect6 select
    signalfd signalfd4 timerfd_create timerfd_gettime timerfd_settime
"""

MEMORY: Final = """
    brk cachestat madvise map_shadow_stack memfd_create mincore mlock mlock2 mlockall mmap
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    remap_file_pages
"""

PROCESSES: Final = """
    arch_prctl capget capset execve execveat exit exit_group fork get_robust_list
    get_thread_area getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid
    getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set
    kill landlock_add_rule landlock_create_ruleset landlock_restrict_self membarrier pidfd_open
    pidfd_send_signal prctl prlimit64 restart_syscall rseq sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid
    setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid
    setuid tgkill time times tkill uname vfork wait4 waitid
"""

SIGNALS_AND_TIME: Final = """
    alarm clock_getres clock_gettime clock_nanosleep futex futex_requeue futex_wait futex_waitv
    futex_wake getitimer gettimeofday nanosleep pause rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack
    timer_create timer_delete timer_getoverrun timer_gettime timer_settime
"""

SOCKETS: Final = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg
    recvmsg sendmmsg sendmsg sendto setsockopt shutdown socketpair
"""

# In an IPC namespace of the sandbox's own.
IPC: Final = """
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv
    msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
"""

THE_REST: Final = "getrandom sysinfo"

REASONS: Final = {
    FILES: "Opening, reading, changing files by name. Mounts and permissions say which: all that "
    "is not the sandbox's own is read-only, and nothing of the host's is below its root. mknod "
    "makes pipes and sockets; devices take a capability. Not: mounts, file handles (they open by "
    "number, past all directories), quotas, fanotify.",
    WAITING: "Waiting for files, timers and events, as every event loop does. Old asynchronous I/O "
    "(io_submit) is used by databases; io_uring, whose kernel half has often been broken, is not.",
    MEMORY: "Its own memory, bounded by its cgroup; code made at run time included, as "
    "just-in-time compilers do. Not: userfaultfd and memfd_secret, placement on NUMA nodes, other "
    "processes' memory.",
    PROCESSES: "Its own processes and threads, in its own pid namespace, and asking about itself. "
    "Changing ids is allowed and useless: one uid is mapped. It may restrict itself further "
    "(seccomp, landlock). Not: ptrace, process_vm_*, pidfd_getfd, namespaces, personality.",
    SIGNALS_AND_TIME: "Signals within its pid namespace, clocks to be read, timers. Not: setting "
    "clocks.",
    SOCKETS: "What a socket can do once it is there; which there may be, `socket` is asked below.",
    IPC: "System V and POSIX queues, semaphores and shared memory, in an IPC namespace of its own; "
    "their pages are charged to its cgroup.",
    THE_REST: "Random bytes; and the size of the machine, which /proc shows as well.",
}
"""Why each group of calls is allowed. A test checks that none is without."""
ALLOWED: Final = tuple(name for group in REASONS for name in group.split())

# clone may make threads and processes, but none of CLONE_NEW*: CGROUP, UTS, IPC, USER, PID, NET,
# NS. (NEWTIME shares its bit with the exit signal's byte and is honoured by clone3 only.)
CLONE_NAMESPACES: Final = 0x7E02_0000
# clone3 passes its flags in memory, where a filter cannot look. ENOSYS makes libc use clone.
REFUSED_AS_MISSING: Final = ("clone3",)

AF_UNIX: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10
AF_NETLINK: Final = 16
NETLINK_ROUTE: Final = 0
# Neither vsock (a way out of the virtual machine that the worker may run in), nor packet, ALG, ...
SOCKET_FAMILIES: Final = (AF_UNIX, AF_INET, AF_INET6)

# Typing into the terminal of whoever started Hearth, and its selection buffer.
TIOCSTI: Final = 0x5412
TIOCLINUX: Final = 0x541C
REFUSED_IOCTLS: Final = (TIOCSTI, TIOCLINUX)

# A lease on a file makes others wait, 45 s by default, who open it. It is for the file's owner:
# where Hearth is an ordinary user, a sandbox is that of its code, which others may share.
F_SETLEASE: Final = 1024
REFUSED_FCNTLS: Final = (F_SETLEASE,)
