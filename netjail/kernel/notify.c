// Notifications of the filter's one number: descriptors on their way into tracees.
#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core.h"

#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif
#define BATCH 1024  // the rest waits for the next tick: threads that ask on and on must not hold us

static void answer(const struct nj_jail *jail, uint64_t id, int error, int64_t value)
{
	struct seccomp_notif_resp response = { .id = id, .error = error, .val = value };

	// The asker may have died meanwhile; nothing is left to answer then.
	(void)ioctl(jail->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

// Returns the number that `ours` has there, or -errno.
static int hand_over(const struct nj_jail *jail, uint64_t id, int ours)
{
	struct seccomp_notif_addfd request = {
		.id = id,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.srcfd = (uint32_t)ours,
		.newfd_flags = 02000000,  // O_CLOEXEC
	};
	sigset_t all, before;
	int fd;

	// A signal in the middle takes the descriptor back, but not the answer: the asker
	// would get 0 (seccomp_notify_addfd() in kernel/seccomp.c).
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	fd = ioctl(jail->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
	if (fd < 0 && errno == EINVAL) {  // before Linux 5.14
		request.flags = 0;
		fd = ioctl(jail->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
		if (fd >= 0)
			answer(jail, id, 0, fd);
	}
	fd = fd < 0 ? -errno : fd;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (fd < 0)
		answer(jail, id, fd, 0);
	return fd;
}

static bool expected(const struct nj_jail *jail, const struct nj_task *task,
		     const struct seccomp_notif *asked)
{
	return task && task->stage == NJ_INJECT_FD &&
	       asked->data.instruction_pointer == task->saved.rip &&
	       asked->data.args[0] == (uint32_t)jail->config.notify_key &&
	       asked->data.args[1] == jail->config.notify_key >> 32;
}

// Serve the notifications that wait; a program's own call of the number, made
// with a key that it read somewhere, gets ENOSYS.
void nj_answer_strangers(struct nj_jail *jail)
{
	struct pollfd poll_fd = { .fd = jail->listener, .events = POLLIN };

	for (int i = 0; i < BATCH && jail->listener >= 0; i++) {
		struct seccomp_notif asked;
		struct nj_task *task;

		if (poll(&poll_fd, 1, 0) <= 0 || !(poll_fd.revents & POLLIN))
			return;
		memset(&asked, 0, sizeof(asked));
		if (ioctl(jail->listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
			return;
		task = nj_task_find(jail, (int32_t)asked.pid);
		if (expected(jail, task, &asked))
			task->injected_fd = hand_over(jail, asked.id,
						      task->lending.under_way
							      ? task->lending.channel[1]
							      : jail->vault_fd);
		else
			answer(jail, asked.id, -ENOSYS, 0);
	}
}
