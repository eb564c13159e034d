// Time: the tick that wakes the loop, and the watchdog that ends a jail whose
// memory does not answer.
//
// A page of FUSE can hold a reader for ever, in a sleep that only SIGKILL ends.
// So a second thread looks at a time stamp once a second and ends the whole
// supervisor; EXITKILL of ptrace(2) then ends the jail.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "core.h"

#define PATIENCE 5000000000ULL  // nanoseconds

static _Atomic uint64_t busy_since;
static struct nj_shared *watched;

uint64_t nj_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

void nj_watch_begin(void)
{
	atomic_store_explicit(&busy_since, nj_now(), memory_order_relaxed);
}

void nj_watch_end(void)
{
	atomic_store_explicit(&busy_since, 0, memory_order_relaxed);
}

static void *watch(void *unused)
{
	static const char said[] = "netjail: a process's memory did not answer for 5 s, "
				   "as a hostile FUSE page would; the jail is ended\n";

	(void)unused;
	for (;;) {
		uint64_t since;

		sleep(1);
		since = atomic_load_explicit(&busy_since, memory_order_relaxed);
		if (!since || nj_now() - since < PATIENCE)
			continue;
		if (write(STDERR_FILENO, said, sizeof(said) - 1) < 0)
			_exit(125);
		watched->exit_code = 125;
		atomic_thread_fence(memory_order_release);
		watched->ended = 1;
		_exit(125);
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

int nj_watch_start(struct nj_shared *shared)
{
	watched = shared;
	return start_watchdog();
}
