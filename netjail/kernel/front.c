// The front: the process that the shell started, and what stands for the command
// as seen from outside. It is the command's parent, forwards the signals that come,
// stops and goes on with it, and waits for the supervisor to end.
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "front.h"

int nj_shared_new(struct nj_shared **ret)
{
	void *page = mmap(NULL, sizeof(**ret), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	*ret = page;
	return 0;
}

uint64_t nj_set_mask(int how, uint64_t set)
{
	uint64_t before = 0;

	syscall(SYS_rt_sigprocmask, how, &set, &before, sizeof(set));
	return before;
}

// Take the lowest signal of `set`, waiting for one or not.
bool nj_dequeue(uint64_t set, bool wait, siginfo_t *ret)
{
	struct timespec at_once = { 0 };

	return syscall(SYS_rt_sigtimedwait, &set, ret, wait ? NULL : &at_once, sizeof(set)) > 0;
}

uint64_t nj_pending(void)
{
	uint64_t set = 0;

	syscall(SYS_rt_sigpending, &set, sizeof(set));
	return set;
}

// The command's pid while it can be signalled, else 0. It stays ours until we wait
// for it, so that the pid cannot have been given to another.
int nj_command(const struct front *front)
{
	return front->gone ? 0 : __atomic_load_n(&front->shared->command, __ATOMIC_ACQUIRE);
}

// Whether the command left our group for one that natively would be the same.
bool nj_left(const struct front *front)
{
	return nj_own_group(front->self, nj_command(front));
}

// Who sent it; 0 for the kernel, which leaves si_pid to mean other things.
int nj_sender(const siginfo_t *info)
{
	return info->si_code > 0 ? 0 : info->si_pid;
}

// Wait for children that ended; true when the supervisor did.
//
// The command shows here only after its tracer waited for it. Children of the
// command that it made with CLONE_PARENT are ours as well.
static bool reap(struct front *front)
{
	siginfo_t info = { 0 };
	bool over = false;

	while (!waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL)) {
		if (!info.si_pid)
			return over;
		over |= info.si_pid == front->supervisor;
		front->gone |= info.si_pid == nj_command(front);
		info.si_pid = 0;
	}
	return true;  // ECHILD: nobody is left to wait for
}

// Something happened to a child; true when the supervisor ended.
static bool children(struct front *front)
{
	if (reap(front))
		return true;
	nj_look(front);
	return false;
}

static bool from_child(const siginfo_t *info)
{
	return info->si_signo == SIGCHLD ||
	       (info->si_code >= CLD_EXITED && info->si_code <= CLD_CONTINUED);
}

static void loop(struct front *front)
{
	bool over = children(front);
	siginfo_t info;

	while (!over) {
		// EINTR: we were stopped and continued, signal(7).
		if (!nj_dequeue(ALL, true, &info))
			continue;
		if (from_child(&info))
			over = children(front);
		else if (info.si_signo == SIGCONT)
			nj_continued(front, &info);
		else
			nj_take(front, &info);
	}
	// What is left was for the command, not for how we leave.
	while (nj_dequeue(ALL, false, &info))
		;
}

static uint64_t ignored(void)
{
	uint64_t set = 0;

	for (int signal = 1; signal < SIGRTMIN; signal++) {
		struct sigaction action;

		if (!sigaction(signal, NULL, &action) && action.sa_handler == SIG_IGN)
			set |= BIT(signal);
	}
	return set;
}

// Stand for the command until the supervisor ends.
//
// The caller has one thread, holds its signals back since before it forked, and
// has written the command's pid to *shared.
//
// Returns 0 and how to leave: an exit code, or a signal's number negated; -ECHILD
// if the supervisor ended without saying.
int nj_front(struct nj_shared *shared, int supervisor, int *ret)
{
	// Ignored, SIGCHLD would reap the children and tell of no stop: wait(2).
	struct sigaction action = { .sa_handler = SIG_DFL }, before;
	struct front front = { .shared = shared, .self = getpid(), .supervisor = supervisor };
	uint64_t mask = nj_set_mask(SIG_SETMASK, ALL);

	front.early = nj_pending();
	front.ignored = ignored();
	sigaction(SIGCHLD, &action, &before);
	loop(&front);
	sigaction(SIGCHLD, &before, NULL);
	nj_set_mask(SIG_SETMASK, mask);
	if (!__atomic_load_n(&shared->ended, __ATOMIC_ACQUIRE))
		return -ECHILD;
	*ret = shared->exit_signal > 0 ? -shared->exit_signal : shared->exit_code;
	return 0;
}

// End by `signal` as the command did; its core file is the one that counts.
void nj_leave(int signal)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	// A core_pattern that is a pipe does not ask for the limit: core(5).
	prctl(PR_SET_DUMPABLE, 0);
	sigaction(signal, &action, NULL);
	kill(getpid(), signal);
	nj_set_mask(SIG_UNBLOCK, BIT(signal));
	// The init of a pid namespace is deaf to its own signals: pid_namespaces(7).
	_exit(128 + signal);
}
