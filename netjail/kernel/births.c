// Children: whose they are, whichever is seen first, they or their parent's event.
//
// A child stops at its first breath and stays there until its parent's fork, vfork
// or clone event tells whose it is. Where no event comes, because the parent was
// killed on the way, it is placed by what /proc says.
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core.h"

static int child_process(struct nj_jail *jail, struct nj_process *parent,
			 struct nj_image *image, int32_t pid, struct nj_process **ret)
{
	int error = nj_process_new(jail, pid, parent, image, ret);

	if (!error) {
		(*ret)->files_shared = parent->files_shared;
		(*ret)->undumpable = parent->undumpable;
		(*ret)->filtered = parent->filtered;
		(*ret)->sources = parent->sources;
	}
	return error;
}

static struct nj_process *process_of(struct nj_jail *jail, int32_t tgid)
{
	struct nj_task *task = nj_task_find(jail, tgid);

	if (task)
		return task->process;
	// The leader may be gone while its threads go on.
	for (uint32_t i = 0; i < NJ_BUCKETS; i++)
		for (task = jail->buckets[i]; task; task = task->next)
			if (task->process->pid == tgid)
				return task->process;
	return NULL;
}

static struct nj_process *anybody(struct nj_jail *jail)
{
	struct nj_process *process = process_of(jail, jail->command);

	for (uint32_t i = 0; i < NJ_BUCKETS && !process; i++)
		process = jail->buckets[i] ? jail->buckets[i]->process : NULL;
	return process;
}

// The child of a parent that /proc does not tell (CLONE_PARENT) is not to pass for
// the program of another: what it runs is asked of itself.
static int guessed_child(struct nj_jail *jail, struct nj_process *from, int32_t pid,
			 struct nj_process **ret)
{
	struct nj_image *own;
	int error = nj_image_read_exe(jail, pid, &own);

	if (error)
		return error;
	own->refs++;
	// Where rules ask who calls, it is not to pass for another of the same program.
	if (!jail->config.callers && !strcmp(own->exe, nj_image_exe(from->image, 0)))
		error = child_process(jail, from, from->image, pid, ret);
	else
		error = child_process(jail, from, own, pid, ret);
	nj_image_release(own);
	return error;
}

// Place a task that nobody announced, and let it go.
int nj_adopt(struct nj_jail *jail, int32_t tid)
{
	int32_t tgid = tid, parent = 0;
	struct nj_process *process, *from;
	struct nj_task *task;
	int error = 0;

	nj_read_family(tid, &tgid, &parent);
	process = tgid != tid ? process_of(jail, tgid) : NULL;
	if (!process) {
		from = process_of(jail, parent);
		from = from ? from : anybody(jail);
		if (!from)
			return -ESRCH;
		error = guessed_child(jail, from, tgid, &process);
	}
	if (!error)
		error = nj_task_add(jail, tid, process, &task);
	if (error)
		return error;
	task->adopted = true;
	return nj_resume(tid, PTRACE_CONT, 0);
}

static bool take(int32_t *tids, int32_t tid)
{
	for (uint32_t i = 0; i < NJ_UNCLAIMED; i++)
		if (tids[i] == tid) {
			tids[i] = 0;
			return true;
		}
	return false;
}

static bool put(int32_t *tids, int32_t tid)
{
	take(tids, tid);
	for (uint32_t i = 0; i < NJ_UNCLAIMED; i++)
		if (!tids[i]) {
			tids[i] = tid;
			return true;
		}
	return false;
}

// The first stop of a task that is not known: hold it until it is claimed.
int nj_unclaimed(struct nj_jail *jail, int32_t tid)
{
	if (!put(jail->unclaimed, tid))
		return nj_adopt(jail, tid);
	jail->some_unclaimed = true;
	return 0;
}

// No event can come for some any more: a task ended, or a thread's exec ended others.
void nj_adopt_unclaimed(struct nj_jail *jail)
{
	if (!jail->some_unclaimed)
		return;
	jail->some_unclaimed = false;
	for (uint32_t i = 0; i < NJ_UNCLAIMED; i++)
		if (jail->unclaimed[i]) {
			int32_t tid = jail->unclaimed[i];

			jail->unclaimed[i] = 0;
			(void)nj_adopt(jail, tid);
		}
}

// It ended before it was claimed.
void nj_ended_unclaimed(struct nj_jail *jail, int32_t tid)
{
	take(jail->unclaimed, tid);
}

// Whether `tid` has not told us its end yet: ECHILD if it has.
static bool is_tracee(int32_t tid)
{
	siginfo_t unused;

	return !waitid(P_PID, (id_t)tid, &unused, WEXITED | WNOHANG | WNOWAIT | __WALL);
}

// It was placed by a guess, and its parent tells better.
static void correct(struct nj_task *child, struct nj_process *parent)
{
	struct nj_process *process = child->process;

	child->adopted = false;
	if (process == parent)
		return;
	if (process->image->adopted) {
		parent->image->refs++;
		nj_image_release(process->image);
		process->image = parent->image;
	}
	if (process->parent == parent)
		return;
	parent->refs++;
	nj_process_release(process->parent);
	process->parent = parent;
	process->depth = parent->depth + 1;
	process->files_shared |= parent->files_shared;
}

// `parent` reported `tid` in a fork, vfork or clone event.
//
// The event does not say whether it is a thread; tgkill(2) with signal 0 finds
// the pair (group, thread) only if it is one.
int nj_born(struct nj_jail *jail, struct nj_task *parent, int32_t tid)
{
	struct nj_task *child = nj_task_find(jail, tid);
	struct nj_process *process = parent->process;
	bool waits = take(jail->unclaimed, tid);
	int error;

	if (child && child->adopted)
		correct(child, process);
	// Killed before this event was fetched, it must not come back.
	if (child || (!waits && !is_tracee(tid)))
		return 0;
	if (syscall(SYS_tgkill, process->pid, tid, 0) < 0 && errno == ESRCH) {
		error = child_process(jail, process, process->image, tid, &process);
		if (error)
			return error;
	}
	error = nj_task_add(jail, tid, process, &child);
	if (error || !waits)
		return error;
	// Killed while it waited: its end will be reported, its parent goes on.
	error = nj_resume(tid, PTRACE_CONT, 0);
	return error == -ESRCH ? 0 : error;
}
