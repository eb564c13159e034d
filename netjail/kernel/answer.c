// What Python decided about a parked call.
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core.h"

static struct nj_task *parked(struct nj_jail *jail, int32_t tid)
{
	struct nj_task *task = nj_task_find(jail, tid);

	return task && task->stage == NJ_PARKED ? task : NULL;
}

// Whether `tid` still waits with the call that it was parked with. An exec by another
// thread ends that call and gives the tid to a new image, which may be parked in turn.
int nj_waits(struct nj_jail *jail, int32_t tid, uint64_t process)
{
	const struct nj_task *task = parked(jail, tid);

	return task && task->process->id == process;
}

static int gone_is_fine(int error)
{
	return error == -ESRCH ? 0 : error;
}

static void let_duplicate_go(struct nj_task *task)
{
	nj_watch_begin();
	if (task->call->duplicate >= 0)
		close(task->call->duplicate);
	nj_watch_end();
	task->call->duplicate = -1;
}

// Let a parked call run on the judged copy; its result comes as `token`.
int nj_allow(struct nj_jail *jail, int32_t tid, uint64_t token, int32_t cache)
{
	struct nj_task *task = parked(jail, tid);

	if (!task)
		return -ESRCH;
	if (cache)
		nj_cache_add(jail, task, 0, token, cache == NJ_CACHE_ANY);
	// A call that runs again still owes the result of its first attempt.
	if (token || !task->again)
		task->token = token;
	task->stage = NJ_RUNNING;
	return gone_is_fine(nj_pin(jail, task));
}

int nj_deny(struct nj_jail *jail, int32_t tid, int32_t error, uint64_t token, int32_t cache)
{
	struct nj_task *task = parked(jail, tid);

	if (!task)
		return -ESRCH;
	if (cache)
		nj_cache_add(jail, task, error, token, cache == NJ_CACHE_ANY);
	let_duplicate_go(task);
	return gone_is_fine(nj_refuse(jail, task, error));
}

// Answer a parked call ourselves, without running it.
int nj_answer(struct nj_jail *jail, int32_t tid, int64_t result)
{
	struct nj_task *task = parked(jail, tid);
	int error;

	if (!task)
		return -ESRCH;
	let_duplicate_go(task);
	task->stage = NJ_RUNNING;
	error = nj_skip(tid, result);
	return gone_is_fine(error ? error : nj_resume(tid, PTRACE_CONT, 0));
}

// Let a parked call run as it is: only where all that counts is in registers, or was
// when it was read.
int nj_pass(struct nj_jail *jail, int32_t tid)
{
	struct nj_task *task = parked(jail, tid);

	if (!task)
		return -ESRCH;
	let_duplicate_go(task);
	return gone_is_fine(nj_run(task));
}

// Put another name in the place of the judged one (a unix path pinned to its inode).
int nj_rename(struct nj_jail *jail, int32_t tid, const uint8_t *name, uint32_t size)
{
	struct nj_task *task = parked(jail, tid);

	if (!task)
		return -ESRCH;
	if (size > NJ_NAME_MAX)
		return -ENAMETOOLONG;
	// What it is led to may be this machine's, and would leave by the device.
	if (task->call->steered)
		return -EPERM;
	memcpy(task->call->path, name, size);
	task->call->held = true;
	task->call->path_size = size;
	return 0;
}

// Who sends on it meanwhile holds its lock, perhaps while a page of its own keeps it waiting.
static int listen_on(int fd, int backlog, bool local)
{
	int error = 0;

	nj_watch_begin();
	if (local)
		error = nj_close_to_others(fd);
	if (!error && listen(fd, backlog) < 0)
		error = -errno;
	nj_watch_end();
	return error;
}

// listen(2) in the tracee's place, on our duplicate of its socket.
//
// *ret is what the tracee sees: 0 or the errno.
int nj_listen(struct nj_jail *jail, int32_t tid, int32_t local, int32_t *ret)
{
	struct nj_task *task = parked(jail, tid);
	int fd, error;

	if (!task)
		return -ESRCH;
	// Without a duplicate it cannot be tied, nor be the one that was judged.
	fd = task->call->duplicate;
	error = fd < 0 ? -EPERM : listen_on(fd, (int)task->call->info.seccomp.args[1], local);
	// An MPTCP listener that cannot be found counts as somebody else's.
	if (!error)
		(void)nj_owners_listener(jail->config.owners, fd);
	*ret = -error;
	return nj_answer(jail, tid, error);
}
