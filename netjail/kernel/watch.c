// Time: the tick that wakes the loop, and the watchdog that ends a jail whose
// memory does not answer.
//
// A page, a path, a descriptor or a socket whose sender waits for a page: each can
// lead to a FUSE that does not answer, and hold for ever whoever looks at it, in a
// sleep that not even SIGKILL ends (fuse_simple_request() in fs/fuse/dev.c,
// lock_sock()). So a second thread looks at a time stamp once a second and kills the
// jail, whoever serves that FUSE included, and then the supervisor.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "core.h"

#define PATIENCE 5000000000ULL  // nanoseconds

static _Atomic uint64_t busy_since;
static uint32_t depth;  // looks can be part of a longer one
static const struct nj_jail *watched;

uint64_t nj_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

void nj_watch_begin(void)
{
	if (!depth++)
		atomic_store_explicit(&busy_since, nj_now(), memory_order_relaxed);
}

void nj_watch_end(void)
{
	if (!--depth)
		atomic_store_explicit(&busy_since, 0, memory_order_relaxed);
}

// Who is to be killed: the first thread is asleep, so that its table stands still, and
// only until the first of them is dead. A task that is not in it has not run yet.
static uint32_t list_tasks(int32_t **ret)
{
	uint32_t count = 0;

	*ret = calloc(watched->tasks + 1, sizeof(**ret));
	for (uint32_t i = 0; *ret && i < NJ_BUCKETS; i++)
		for (const struct nj_task *task = watched->buckets[i]; task; task = task->next)
			if (count < watched->tasks)
				(*ret)[count++] = task->tid;
	return count;
}

static void end_jail(void)
{
	static const char said[] = "netjail: looking at a process took 5 s, as with a "
				   "hostile FUSE file; the jail is ended\n";
	struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };
	int32_t *tids;
	uint32_t count = list_tasks(&tids);

	// A pipe that the jail filled is not to hold us up.
	if (poll(&out, 1, 0) > 0 && write(STDERR_FILENO, said, sizeof(said) - 1) < 0)
		watched->shared->give_up = 1;
	watched->shared->exit_code = 125;
	__atomic_store_n(&watched->shared->ended, 1, __ATOMIC_RELEASE);
	while (count)
		kill(tids[--count], SIGKILL);
	_exit(125);
}

static void *watch(void *unused)
{
	(void)unused;
	for (;;) {
		uint64_t since;

		sleep(1);
		since = atomic_load_explicit(&busy_since, memory_order_relaxed);
		if (!since || nj_now() - since < PATIENCE)
			continue;
		end_jail();
	}
	return NULL;
}

static volatile sig_atomic_t ticked;

// wait4() returns EINTR for it; where the loop never sleeps, the flag tells.
static void tick(int signal)
{
	(void)signal;
	ticked = 1;
}

bool nj_ticked(void)
{
	if (!ticked)
		return false;
	ticked = 0;
	return true;
}

// Wake the loop every so many milliseconds; 0: no more.
int nj_timer(uint32_t milliseconds)
{
	struct itimerval timer = {
		.it_interval = { milliseconds / 1000, (milliseconds % 1000) * 1000 },
	};

	timer.it_value = timer.it_interval;
	return setitimer(ITIMER_REAL, &timer, NULL) < 0 ? -errno : 0;
}

static int start_watchdog(void)
{
	sigset_t all, before;
	pthread_t thread;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, NULL, watch, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

// One a task that calls the network; without room they are opened each time.
static void more_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int32_t parent;  // the front, once this is the supervisor

// Die with the front, and be looked into by nobody. A change of credentials undoes
// both: commit_creds() in kernel/cred.c.
int nj_cling(void)
{
	if (!parent)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}

// Make this process the supervisor: a group of its own, deaf to all but its
// timer, dead with the front, and not to be looked into.
int nj_supervise_alone(int32_t front)
{
	struct sigaction action = { .sa_handler = tick };
	sigset_t mask;

	int error;

	parent = front;
	error = nj_cling();
	if (error)
		return error;
	more_descriptors();
	if (setpgid(0, 0) < 0 || sigaction(SIGALRM, &action, NULL) < 0)
		return -errno;
	sigfillset(&mask);
	sigdelset(&mask, SIGALRM);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return 0;
}

int nj_watch_start(const struct nj_jail *jail)
{
	watched = jail;
	return start_watchdog();
}
