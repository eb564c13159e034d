// From fork to exec: what the child does to itself before it is the command.
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif

// include/uapi/linux/landlock.h as of ABI 6 (Linux 6.12).
struct ruleset {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

static sigset_t mask_before;

// Hold every signal back until the front can forward it; the command gets the
// mask that netjail was started with.
void nj_hold_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &mask_before);
}

static int enter_domain(uint64_t scoped)
{
	struct ruleset ruleset = { .scoped = scoped };
	int fd, error = 0;

	if (!scoped)
		return 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		error = -errno;
	close(fd);
	return error;
}

// Install the filter; returns the descriptor of its notifications.
static int install(const struct nj_launch *launch)
{
	struct sock_fprog program = { .len = launch->filter_length,
				      .filter = (struct sock_filter *)launch->filter };
	// SPEC_ALLOW: before Linux 5.16 a filter turned speculation controls on.
	unsigned int flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);

	return fd < 0 ? -errno : (int)fd;
}

// In the jail's own Landlock domain, so that the jail may look into it; a child of
// the front, so that the command has none that it did not make.
static int fork_holder(int channel)
{
	long child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

	if (child < 0)
		return -errno;
	if (!child)
		nj_holder_run(channel);
	return 0;
}

static int confine(const struct nj_launch *launch)
{
	int listener, error;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	error = enter_domain(launch->landlock_scoped);
	if (error)
		return error;
	for (uint32_t i = 0; i < launch->closed_count; i++)
		close(launch->closed[i]);
	error = nj_capabilities_drop(launch->dropped);
	if (error)
		return error;
	listener = install(launch);
	if (listener < 0)
		return listener;
	error = nj_send_descriptor(launch->channel, listener, 0);
	close(listener);
	return error ? error : fork_holder(launch->holder);
}

// The interpreter ignores these two (Python/pylifecycle.c); exec would pass it on.
static void restore_signals(void)
{
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
}

// What the child reports on the channel when it cannot become the command.
struct failure {
	int32_t stage;  // 1: confining, 2: exec
	int32_t error;
};

static void run_child(const struct nj_launch *launch)
{
	struct failure failure = { .stage = 1 };
	int32_t self = getpid();
	char go;

	// Yama 1 lets only ancestors trace, unless told who may: the supervisor is
	// our sibling. EINVAL: no Yama here.
	prctl(PR_SET_PTRACER, launch->supervisor, 0, 0, 0);
	if (write(launch->channel, &self, sizeof(self)) != sizeof(self) ||
	    read(launch->channel, &go, 1) != 1)
		_exit(125);
	failure.error = -confine(launch);
	if (!failure.error) {
		restore_signals();
		execvpe(launch->file, launch->argv, launch->envp);
		failure.stage = 2;
		failure.error = errno;
	}
	if (write(launch->channel, &failure, sizeof(failure)) < 0)
		_exit(125);
	_exit(127);
}

// Fork the child that becomes the command; *ret is its pid.
//
// The caller has one thread. Returns once the supervisor holds both: from then
// on this process, too, is closed to its user's other programs.
int nj_launch(const struct nj_launch *launch, int32_t *ret)
{
	char attached;
	pid_t child;

	prctl(PR_SET_PTRACER, launch->supervisor, 0, 0, 0);
	// The jail may look into the holder, which has the memory of this process: it could
	// have our signals go to whom it likes.
	if (madvise(launch->shared, sizeof(*launch->shared), MADV_DONTFORK) < 0 ||
	    (child = fork()) < 0)
		child = -errno;
	if (!child)
		run_child(launch);
	// In the child's place: the supervisor waits for its pid, and says what is wrong.
	if (child < 0 && write(launch->channel, &child, sizeof(child)) < 0)
		return -ECHILD;
	*ret = child;
	close(launch->channel);
	close(launch->holder);
	if (read(launch->attached, &attached, 1) != 1)
		return -ECHILD;
	return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}
