// The jail before its first stop: what it consists of, and who is held.
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core.h"

#define OPTIONS                                                                              \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |                  \
	 PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL)

static bool several_cpus(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

int nj_jail_new(const struct nj_config *config, struct nj_shared *shared, int32_t channel,
		int32_t holder, struct nj_jail **ret)
{
	struct nj_jail *jail = calloc(1, sizeof(*jail));
	int error;

	if (!jail)
		return -ENOMEM;
	jail->config = *config;
	jail->shared = shared;
	jail->channel = channel;
	jail->holder_channel = holder;
	jail->listener = -1;
	jail->spin = several_cpus();
	jail->luck = NJ_LUCK_MAX;
	jail->cache = calloc(NJ_CACHE_SETS * NJ_CACHE_WAYS, sizeof(*jail->cache));
	// EINVAL: the kernel has mseal and dislikes the flags; ENOSYS: before 6.10.
	jail->seal = syscall(462, 0, 0, ~0UL) < 0 && errno == EINVAL;
	jail->lends = nj_must_lend();
	error = jail->cache ? nj_vault_open(jail) : -ENOMEM;
	*ret = jail;
	return error;
}

// Wait for the child to say that it is there; *ret is its pid. Or for the front to say
// why there is none.
int nj_await_child(struct nj_jail *jail, int32_t *ret)
{
	ssize_t size = recv(jail->channel, ret, sizeof(*ret), 0);

	if (size < 0)
		return -errno;
	return size != sizeof(*ret) ? -ECHILD : *ret < 0 ? *ret : 0;
}

// Take hold of the front, to see its stops, and of the child that will exec.
int nj_attach(struct nj_jail *jail, int32_t front, int32_t command)
{
	struct nj_process *process;
	struct nj_image *image = calloc(1, sizeof(*image));
	struct nj_task *task;
	char go = 1;
	int error;

	if (!image)
		return -ENOMEM;
	image->exe = strdup("");
	image->argv = strdup("");
	jail->front = front;
	jail->command = command;
	jail->shared->command = command;
	jail->launching = true;
	if (ptrace(PTRACE_SEIZE, front, 0, 0) < 0 || ptrace(PTRACE_SEIZE, command, 0, OPTIONS) < 0)
		return -errno;
	error = nj_process_new(jail, command, NULL, image, &process);
	if (!error)
		error = nj_task_add(jail, command, process, &task);
	if (!error && write(jail->channel, &go, 1) != 1)
		error = -errno;
	return error;
}
