// What this host offers, found out by trying.
//
// A version number tells what a kernel could do; a container's seccomp profile,
// Yama and an outer jail decide what it does. So the calls that matter are made
// for real, on a child that lives for a tenth of a millisecond.
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
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
	int go[2];
	int listener;
};

// errno of the call just made, 0 if it worked.
static int failure(long result)
{
	return result < 0 ? errno : 0;
}

// A filter with a listener of its own, as the jail will install. The kernel
// gives EBUSY where an outer supervisor (LXD, another netjail) holds one.
static int try_listener(void)
{
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog program = { .len = 1, .filter = &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return errno;
	return failure(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			       SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
}

// The child: wait for our word, install the filter, tell how that went.
//
// Its errno is ours too (the same thread area); we are in waitpid meanwhile,
// and look at errno only where that fails.
static int child(void *arg)
{
	struct trial *trial = arg;
	char word;

	close(trial->go[1]); // so that our death ends the child's read
	if (read(trial->go[0], &word, 1) == 1)
		trial->listener = try_listener();
	_exit(0);
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

// Start the child, try everything on it, and wait for its end.
static int with_child(int descriptor, struct nj_host *ret)
{
	_Alignas(16) char stack[STACK];
	struct trial trial = { .listener = EINTR };
	sigset_t all, before;
	int pid, error;

	if (pipe2(trial.go, O_CLOEXEC) < 0)
		return -errno;
	// The child has our handlers and our memory: no signal may run one there.
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	// No exit signal: a SIGCHLD would be a surprise to whoever called us.
	pid = clone(child, stack + sizeof(stack), CLONE_VM, &trial);
	error = pid < 0 ? -errno : 0;
	close(trial.go[0]);
	if (pid >= 0) {
		try_child(pid, descriptor, ret);
		if (write(trial.go[1], "", 1) < 0)
			error = -errno;
	}
	close(trial.go[1]);
	if (pid >= 0)
		reap(pid);
	sigprocmask(SIG_SETMASK, &before, NULL);
	ret->listener = trial.listener;
	return error;
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

static int action_missing(uint32_t action)
{
	return failure(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
}

int nj_probe(struct nj_host *ret)
{
	int descriptor, error, version;

	memset(ret, 0, sizeof(*ret));
	version = syscall(LANDLOCK_CREATE_RULESET, NULL, 0, LANDLOCK_VERSION);
	ret->landlock = version > 0 ? version : 0;
	ret->mseal = syscall(MSEAL, 0, 0, 0) == 0;
	ret->trace = action_missing(SECCOMP_RET_TRACE);
	ret->notify = action_missing(SECCOMP_RET_USER_NOTIF);
	// No program: EFAULT everywhere but inside a netjail, whose filter answers
	// EBUSY to the flag before the kernel looks at the pointer.
	ret->jailed = failure(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				      SECCOMP_FILTER_FLAG_NEW_LISTENER, NULL)) == EBUSY;
	descriptor = open_memory();
	if (descriptor < 0) {
		ret->seal = errno;
		return 0;
	}
	error = with_child(descriptor, ret);
	ret->seal = try_seal(descriptor);
	close(descriptor);
	return error;
}
