// What a descriptor of a tracee is, asked of a duplicate of it.
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static bool no_thread_pidfd;  // before Linux 6.9

static int open_pidfd(const struct nj_task *task)
{
	int fd;

	if (task->tid == task->process->pid)
		return (int)syscall(SYS_pidfd_open, task->tid, 0);
	if (!no_thread_pidfd) {
		fd = (int)syscall(SYS_pidfd_open, task->tid, PIDFD_THREAD);
		if (fd >= 0 || errno != EINVAL)
			return fd;
		no_thread_pidfd = true;
	}
	// The leader's table: the same one unless the thread unshared its own.
	// That is why such a descriptor counts as shared, see nj_describe().
	return (int)syscall(SYS_pidfd_open, task->process->pid, 0);
}

// Half of our descriptors may be kept for tasks; the rest is for what we open ourselves.
static int room(void)
{
	static int most;
	struct rlimit limit;

	if (!most)
		most = getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > 1 << 20
			       ? 1 << 19
			       : (int)limit.rlim_cur / 2;
	return most;
}

// A duplicate of the tracee's descriptor, or -errno (EBADF: it has none).
//
// The pidfd is kept with the task while there is room: who calls once calls again.
int nj_duplicate(struct nj_task *task, uint32_t fd)
{
	int pidfd, duplicate;

	if (task->lending.lent != NJ_NOTHING_LENT)
		return nj_lent(task, fd);
	pidfd = task->pidfd < 0 ? open_pidfd(task) : task->pidfd;
	if (pidfd < 0)
		return -errno;
	duplicate = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (duplicate < 0)
		duplicate = -errno;
	task->pidfd = pidfd < room() ? pidfd : -1;
	if (task->pidfd < 0)
		close(pidfd);
	return duplicate;
}

static int ask(int fd, int option, int32_t *ret)
{
	socklen_t size = sizeof(*ret);

	return getsockopt(fd, SOL_SOCKET, option, ret, &size) < 0 ? -errno : 0;
}

static uint64_t ask_wide(int fd, int option)
{
	uint64_t value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? 0 : value;
}

// Of one socket all stays as it is but the domain, which IPV6_ADDRFORM turns from
// AF_INET6 into AF_INET (ipv6(7)), and the device, which an IPv6 address can name: where
// the cookie is the last call's, the rest holds.
static int read_kind(int fd, struct nj_descriptor *ret)
{
	uint64_t cookie = ask_wide(fd, SO_COOKIE);
	int error;

	if (cookie && cookie == ret->cookie && ret->domain != AF_INET6)
		return 0;
	ret->cookie = cookie;
	error = ask(fd, SO_DOMAIN, &ret->domain);
	if (!error)
		error = ask(fd, SO_TYPE, &ret->type);
	if (!error)
		error = ask(fd, SO_PROTOCOL, &ret->protocol);
	if (!error)
		error = ask(fd, SO_BINDTOIFINDEX, &ret->device);
	ret->netns = ask_wide(fd, SO_NETNS_COOKIE);
	return error;
}

// Read what `fd` of the stopped task is; *ret is what the last call's was. With
// `ret_duplicate` our duplicate is kept for the caller, else closed.
void nj_describe(struct nj_task *task, uint32_t fd, struct nj_descriptor *ret,
		 int32_t *ret_duplicate)
{
	const struct nj_process *process = task->process;
	int duplicate = nj_duplicate(task, fd);

	// Of a guessed parent it is not known whose table a task shares.
	ret->shared = process->threads > 1 || process->files_shared || task->adopted;
	if (duplicate < 0 || ret->error)
		ret->cookie = ret->device = 0;
	ret->error = duplicate < 0 ? -duplicate : -read_kind(duplicate, ret);
	if (duplicate < 0)
		return;
	if (ret_duplicate && !ret->error)
		*ret_duplicate = duplicate;
	else
		close(duplicate);
}
