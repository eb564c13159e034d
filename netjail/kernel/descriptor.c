// What a descriptor of a tracee is, asked of a duplicate of it.
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
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

// A duplicate of the tracee's descriptor, or -errno (EBADF: it has none).
int nj_duplicate(const struct nj_task *task, uint32_t fd)
{
	int pidfd = open_pidfd(task);
	int duplicate, error;

	if (pidfd < 0)
		return -errno;
	duplicate = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	error = errno;
	close(pidfd);
	return duplicate < 0 ? -error : duplicate;
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

static int read_kind(int fd, struct nj_descriptor *ret)
{
	int error = ask(fd, SO_DOMAIN, &ret->domain);

	if (!error)
		error = ask(fd, SO_TYPE, &ret->type);
	if (!error)
		error = ask(fd, SO_PROTOCOL, &ret->protocol);
	if (error)
		return error;
	ret->cookie = ask_wide(fd, SO_COOKIE);
	ret->netns = ask_wide(fd, SO_NETNS_COOKIE);
	return 0;
}

// Read what `fd` of the stopped task is. With `ret_duplicate` our duplicate is
// kept for the caller, else closed.
void nj_describe(struct nj_jail *jail, const struct nj_task *task, uint32_t fd,
		 struct nj_descriptor *ret, int32_t *ret_duplicate)
{
	const struct nj_process *process = task->process;
	int duplicate = nj_duplicate(task, fd);

	(void)jail;
	*ret = (struct nj_descriptor){ .error = duplicate < 0 ? -duplicate : 0 };
	ret->shared = process->threads > 1 || process->files_shared;
	if (duplicate < 0)
		return;
	ret->error = -read_kind(duplicate, ret);
	if (ret_duplicate && !ret->error)
		*ret_duplicate = duplicate;
	else
		close(duplicate);
}
