// What this host offers, found out by trying.
//
// A version number tells what a kernel could do; a container's seccomp profile,
// Yama and an outer jail decide what it does. So the calls that matter are made
// for real, on a child that lives for a tenth of a millisecond.
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum {
	LANDLOCK_CREATE_RULESET = 444, // the same number on every architecture
	LANDLOCK_VERSION = 1,
	PIDFD_OPEN = 434,
	PIDFD_GETFD = 438,
	MSEAL = 462,
	STACK = 16384,
};

// What the child shares with us: CLONE_VM, so that a start costs no page table.
struct trial {
	int ours, theirs;      // a socket pair: a word there, the listener back
	uint32_t number;       // of the call that shall give a notification
	int listener;          // errno of the filter
};

// errno of the call just made, 0 if it worked.
static int failure(long result)
{
	return result < 0 ? errno : 0;
}

// A filter with a listener of its own, as the jail will install; returns the listener
// or -1. The kernel gives EBUSY where an outer supervisor (LXD, another netjail) holds one.
static int install_listener(uint32_t number)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(*code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

// The child: wait for our word, install the filter, hand its listener over, and ask.
//
// Its errno is ours too (the same thread area); we are in a call meanwhile, and look
// at errno only where that fails.
static int child(void *arg)
{
	struct trial *trial = arg;
	char word;
	int fd;

	close(trial->ours);  // so that our death ends the child's read
	if (read(trial->theirs, &word, 1) != 1)
		_exit(0);
	fd = install_listener(trial->number);
	trial->listener = failure(fd);
	if (fd >= 0 && nj_send_descriptor(trial->theirs, fd, 0) == 0) {
		close(fd);
		syscall(trial->number);
	}
	_exit(0);
}

// Whether the child's call gives a notification: a container's filter may answer it
// first, since SECCOMP_RET_ERRNO outranks USER_NOTIF. Closed, the listener lets it go.
static int try_notification(const struct trial *trial)
{
	struct pollfd ready = { .events = POLLIN };
	int32_t number;

	if (write(trial->ours, "", 1) != 1)
		return errno;
	ready.fd = nj_receive_descriptor(trial->ours, MSG_CMSG_CLOEXEC, &number);
	if (ready.fd < 0)
		return -ready.fd;
	// Its filter's end, with the child's, is POLLHUP: see seccomp(2), since Linux 5.9.
	if (poll(&ready, 1, 1000) != 1)
		ready.revents = 0;
	close(ready.fd);
	return ready.revents & POLLIN ? 0 : EPERM;
}

// What we may do to a process that we started: all that the supervisor will.
static void try_child(int pid, int descriptor, struct nj_host *ret)
{
	char there = 1, here = 0;
	struct iovec to = { &here, 1 }, from = { &there, 1 };
	int pidfd, copy;

	ret->seize = failure(ptrace(PTRACE_SEIZE, pid, 0, 0));
	ret->readv = failure(syscall(SYS_process_vm_readv, pid, &to, 1, &from, 1, 0));
	pidfd = syscall(PIDFD_OPEN, pid, 0);
	copy = pidfd < 0 ? -1 : (int)syscall(PIDFD_GETFD, pidfd, descriptor, 0);
	ret->getfd = failure(copy);
	if (copy >= 0)
		close(copy);
	if (pidfd >= 0)
		close(pidfd);
}

// Wait for its end; a SIGSTOP from outside is shown to a tracer first.
static void reap(int pid)
{
	int status;

	// __WALL: a child without an exit signal is a "clone" child, see wait(2).
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, pid, 0, 0);
}

static int start_child(struct trial *trial, char *stack_end)
{
	sigset_t all, before;
	int pid, error;

	// The child has our handlers and our memory: no signal may run one there.
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	// No exit signal: a SIGCHLD would be a surprise to whoever called us.
	pid = clone(child, stack_end, CLONE_VM, trial);
	error = pid < 0 ? -errno : pid;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return error;
}

// Start the child, try everything on it, and wait for its end.
static int with_child(int descriptor, uint32_t number, struct nj_host *ret)
{
	_Alignas(16) char stack[STACK];
	struct trial trial = { .number = number, .listener = EINTR };
	int pair[2], pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	trial.ours = pair[0];
	trial.theirs = pair[1];
	pid = start_child(&trial, stack + sizeof(stack));
	close(trial.theirs);
	if (pid > 0) {
		try_child(pid, descriptor, ret);
		ret->notification = try_notification(&trial);
	}
	close(trial.ours);
	if (pid > 0)
		reap(pid);
	ret->listener = trial.listener;
	return pid < 0 ? pid : 0;
}

// The seal that makes a mapping read-only for good (Linux 5.1), see memfd_create(2).
static int try_seal(int descriptor)
{
	return failure(fcntl(descriptor, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
}

static int open_memory(void)
{
	// vm.memfd_noexec=2 refuses a memfd without this flag (Linux 6.3).
	int descriptor = memfd_create("netjail", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (descriptor < 0 && errno == EINVAL)
		descriptor = memfd_create("netjail", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return descriptor;
}

// Where only some address families are let through, netlink often is not.
static int try_netlink(int protocol)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int action_missing(uint32_t action)
{
	return failure(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
}

int nj_probe(uint32_t number, struct nj_host *ret)
{
	int descriptor, error, version;

	memset(ret, 0, sizeof(*ret));
	version = syscall(LANDLOCK_CREATE_RULESET, NULL, 0, LANDLOCK_VERSION);
	ret->landlock = version > 0 ? version : 0;
	ret->mseal = syscall(MSEAL, 0, 0, 0) == 0;
	ret->trace = action_missing(SECCOMP_RET_TRACE);
	ret->notify = action_missing(SECCOMP_RET_USER_NOTIF);
	ret->diag = try_netlink(NETLINK_SOCK_DIAG) ?: try_netlink(NETLINK_ROUTE);
	// No program: EFAULT everywhere but inside a netjail, whose filter answers
	// EBUSY to the flag before the kernel looks at the pointer.
	ret->jailed = failure(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				      SECCOMP_FILTER_FLAG_NEW_LISTENER, NULL)) == EBUSY;
	descriptor = open_memory();
	if (descriptor < 0) {
		ret->seal = errno;
		return 0;
	}
	error = with_child(descriptor, number, ret);
	ret->seal = try_seal(descriptor);
	close(descriptor);
	return error;
}
