// Who is in the jail: tasks by tid, and the processes they belong to.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core.h"

// A chain of daemons that each fork and die would keep its ancestors for ever.
#define DEPTH_MAX 64

static struct nj_task **bucket(struct nj_jail *jail, int32_t tid)
{
	return &jail->buckets[(uint32_t)tid % NJ_BUCKETS];
}

struct nj_task *nj_task_find(struct nj_jail *jail, int32_t tid)
{
	struct nj_task *task = *bucket(jail, tid);

	while (task && task->tid != tid)
		task = task->next;
	return task;
}

void nj_process_release(struct nj_process *process)
{
	while (process && --process->refs == 0) {
		struct nj_process *parent = process->parent;

		nj_image_release(process->image);
		free(process);
		process = parent;
	}
}

static void forget_beyond(struct nj_process *process, uint32_t depth)
{
	while (process && depth--)
		process = process->parent;
	if (process && process->parent) {
		nj_process_release(process->parent);
		process->parent = NULL;
	}
}

int nj_process_new(struct nj_jail *jail, int32_t pid, struct nj_process *parent,
		   struct nj_image *image, struct nj_process **ret)
{
	struct nj_process *process = calloc(1, sizeof(*process));

	if (!process)
		return -ENOMEM;
	process->id = ++jail->next_process;
	process->pid = pid;
	process->parent = parent;
	process->image = image;
	image->refs++;
	if (parent) {
		parent->refs++;
		process->forked = parent->image == image;
		process->depth = parent->depth + 1;
		if (process->depth > DEPTH_MAX)
			forget_beyond(process, DEPTH_MAX);
	}
	*ret = process;
	return 0;
}

int nj_task_add(struct nj_jail *jail, int32_t tid, struct nj_process *process,
		struct nj_task **ret)
{
	struct nj_task *task = calloc(1, sizeof(*task));

	if (!task)
		return -ENOMEM;
	task->tid = tid;
	task->process = process;
	task->slot = -1;
	task->pidfd = -1;
	task->lending.lent = NJ_NOTHING_LENT;
	process->refs++;
	process->threads++;
	task->next = *bucket(jail, tid);
	*bucket(jail, tid) = task;
	jail->tasks++;
	*ret = task;
	return 0;
}

void nj_task_remove(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_task **link = bucket(jail, task->tid);

	while (*link != task)
		link = &(*link)->next;
	*link = task->next;
	nj_slot_free(jail, task);
	nj_forgone(jail, task);
	if (task->call && task->call->duplicate >= 0)
		close(task->call->duplicate);
	free(task->call);
	nj_lend_forget(task);
	if (task->pidfd >= 0)
		close(task->pidfd);
	task->process->threads--;
	nj_process_release(task->process);
	free(task);
	jail->tasks--;
}

// A group's leader is the last of it to end: forget the threads whose ends are not told.
//
// Those are of an exec that another thread made and that failed, or was killed, after it
// had taken the leader's tid (begin_new_exec() in fs/exec.c) and before its exec stop.
void nj_group_ended(struct nj_jail *jail, const struct nj_task *leader)
{
	struct nj_process *process = leader->process;

	for (uint32_t i = 0; i < NJ_BUCKETS && process->threads > 1; i++)
		for (struct nj_task *task = jail->buckets[i], *next; task; task = next) {
			next = task->next;
			if (task->process == process && task != leader)
				nj_task_remove(jail, task);
		}
}

// Give the task at its exec stop a process of its own name.
//
// The id changes, so that no verdict of the old image holds for the new one.
int nj_process_exec(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_process *old = task->process, *process;
	struct nj_image *image;
	int error = nj_image_read(jail, task->tid, &image);

	if (error)
		return error;
	image->refs++;
	if (jail->config.callers && !jail->launching)
		nj_image_follow(image, old->image);
	error = nj_process_new(jail, task->tid, old->parent, image, &process);
	nj_image_release(image);
	if (error)
		return error;
	process->filtered = old->filtered;
	// What kept it from being put in place may be gone with the other threads.
	process->sources = old->sources == NJ_SOURCES_SHOWN ? old->sources : NJ_SOURCES_NOT_YET;
	process->refs++;
	process->threads = 1;
	task->process = process;
	old->threads--;
	nj_process_release(old);
	return 0;
}

// The process `depth` steps above the stopped task `tid`, 0 for its own.
int nj_ancestor(struct nj_jail *jail, int32_t tid, uint32_t depth, struct nj_ancestor *ret)
{
	struct nj_task *task = nj_task_find(jail, tid);
	struct nj_process *process = task ? task->process : NULL;

	while (process && depth--)
		process = process->parent;
	if (!process)
		return -ESRCH;
	task = nj_task_find(jail, process->pid);
	ret->id = process->id;
	ret->pid = process->pid;
	ret->exe = nj_image_exe(process->image,
				task && task->process == process ? process->pid : 0);
	ret->argv = process->image->argv;
	ret->argv_size = process->image->argv_size;
	if (ret->argv_size > NJ_ARGV_SHOWN)
		ret->argv_size = NJ_ARGV_SHOWN;
	return 0;
}

// The pids of the processes that still live; returns how many there are.
int nj_living(struct nj_jail *jail, int32_t *ret, uint32_t capacity)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < NJ_BUCKETS; i++)
		for (struct nj_task *task = jail->buckets[i]; task; task = task->next)
			if (task->tid == task->process->pid && count++ < capacity)
				ret[count - 1] = task->tid;
	return (int)count;
}
