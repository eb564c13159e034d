// The loop: wait for a stop, do what can be done here, give Python the rest.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core.h"

#define SYSCALL_STOP (SIGTRAP | 0x80)
// How long to ask before sleeping: waking an idle virtual CPU costs more.
#define SPIN 40000ULL  // nanoseconds

// How a task in this stage goes on: a call whose end we await stops again.
int nj_request(const struct nj_task *task)
{
	// Our filter stops mmap there: one stop, and no entry stop before it. A filter of
	// its own may answer before ours does.
	if (task->stage == NJ_INJECT_MAP && task->process->filtered)
		return PTRACE_SYSCALL;
	return task->stage == NJ_IN_CALL || task->stage == NJ_RECEIVING ||
			       task->stage >= NJ_INJECT_CLOSE ||
			       task->stage == NJ_INJECT_FD || task->stage == NJ_INJECT_MAPPED
		       ? PTRACE_SYSCALL
		       : PTRACE_CONT;
}

// Ask for a while before sleeping, where that paid lately: a tracee that was let
// go into a short call stops again within microseconds, and a sleep costs more than
// that to wake from. sched_yield() gives it the CPU if it has no other.
static int32_t ask_a_while(struct nj_jail *jail, int *ret_status)
{
	uint64_t end = nj_now() + SPIN;
	int32_t tid;

	do {
		tid = wait4(-1, ret_status, __WALL | WNOHANG, NULL);
		if (tid) {
			jail->luck += jail->luck < NJ_LUCK_MAX;
			return tid;
		}
		sched_yield();
	} while (nj_now() < end);
	jail->luck = jail->luck > 2 ? jail->luck - 2 : 0;
	return 0;
}

static int32_t next_status(struct nj_jail *jail, int *ret_status)
{
	int32_t tid = 0;

	if (jail->spin && jail->mark) {
		jail->mark = false;
		// Out of luck: try one stop in so many all the same.
		if (jail->luck || ++jail->passed % 64 == 0)
			tid = ask_a_while(jail, ret_status);
	}
	if (!tid)
		tid = wait4(-1, ret_status, __WALL, NULL);
	return tid < 0 ? -errno : tid;
}

static bool group_stop(int signal)
{
	return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

// The child died before its exec; if it could, it said why: launch.c.
static void read_failure(struct nj_jail *jail)
{
	int32_t failure[2] = { 0, 0 };
	ssize_t size;

	do
		size = recv(jail->channel, failure, sizeof(failure), MSG_DONTWAIT);
	while (size > 0 && size != sizeof(failure));
	jail->stop->kind = NJ_NOT_STARTED;
	jail->stop->status = size == sizeof(failure) ? failure[0] : 0;
	jail->stop->result = size == sizeof(failure) ? failure[1] : 0;
}

static int ended(struct nj_jail *jail, int32_t tid, int status)
{
	struct nj_task *task = nj_task_find(jail, tid);

	nj_ended_unclaimed(jail, tid);
	// Before it is forgotten: it may have been the last, and the parent.
	nj_adopt_unclaimed(jail);
	if (task && tid == task->process->pid)
		nj_group_ended(jail, task);
	if (task)
		nj_task_remove(jail, task);
	if (tid != jail->command)
		return 0;
	jail->command = -1;
	(void)nj_command_changed(jail->shared, jail->front, status);
	*jail->stop = (struct nj_stop){ .kind = NJ_EXITED, .tid = tid, .status = status };
	if (jail->launching)
		read_failure(jail);
	return 1;
}

static int started(struct nj_jail *jail)
{
	int32_t unused;
	int fd = nj_receive_descriptor(jail->channel, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, &unused);

	if (fd < 0)
		return fd;
	jail->listener = fd;
	jail->launching = false;
	*jail->stop = (struct nj_stop){ .kind = NJ_STARTED, .tid = jail->command };
	return 1;
}

// exec ends every other thread. The one that called it takes the leader's tid;
// the former leader's death is never reported: "execve(2) under ptrace" in ptrace(2).
static int exec_stop(struct nj_jail *jail, struct nj_task *task)
{
	unsigned long former = 0;
	struct nj_task *other;
	int error;

	if (ptrace(PTRACE_GETEVENTMSG, task->tid, 0, &former) < 0)
		return -errno;
	if ((int32_t)former != task->tid) {
		other = nj_task_find(jail, (int32_t)former);
		if (other)
			nj_task_remove(jail, other);
		nj_adopt_unclaimed(jail);
	}
	nj_slot_free(jail, task);
	nj_lend_forget(task);
	task->stage = NJ_RUNNING;
	task->again = false;
	nj_forgone(jail, task);
	error = nj_process_exec(jail, task);
	if (!error)
		error = nj_resume(task->tid, PTRACE_CONT, 0);
	return error || !jail->launching ? error : started(jail);
}

static int birth_stop(struct nj_jail *jail, struct nj_task *task)
{
	unsigned long child = 0;
	int error;

	if (ptrace(PTRACE_GETEVENTMSG, task->tid, 0, &child) < 0)
		return -errno;
	if (jail->launching) {
		jail->holder = (int32_t)child;
		return nj_resume(task->tid, PTRACE_CONT, 0);
	}
	error = nj_born(jail, task, (int32_t)child);
	return error ? error : nj_resume(task->tid, nj_request(task), 0);
}

static int syscall_stop(struct nj_jail *jail, struct nj_task *task)
{
	bool own = false;
	int error;

	if (task->stage == NJ_IN_CALL)
		return nj_call_exit(jail, task);
	if (task->stage == NJ_RECEIVING)
		return nj_received(jail, task);
	if (task->stage < NJ_INJECT_FD)
		return nj_resume(task->tid, PTRACE_CONT, 0);
	error = nj_inject_stop(jail, task, &own);
	return own ? nj_resume(task->tid, PTRACE_CONT, 0) : error;
}

static int seccomp_stop(struct nj_jail *jail, struct nj_task *task)
{
	bool own = true;
	int error;

	jail->mark = true;
	if (jail->launching)
		return nj_resume(task->tid, PTRACE_CONT, 0);
	if (task->stage >= NJ_INJECT_FD) {
		error = nj_inject_stop(jail, task, &own);
		if (error || !own)
			return error;
	}
	return nj_call_stop(jail, task);
}

static int event_stop(struct nj_jail *jail, struct nj_task *task, int status)
{
	if (task->tid == jail->command)
		(void)nj_command_changed(jail->shared, jail->front, status);
	if (group_stop(WSTOPSIG(status)))
		return nj_resume(task->tid, PTRACE_LISTEN, 0);
	return nj_resume(task->tid, nj_request(task), 0);
}

static int stopped(struct nj_jail *jail, struct nj_task *task, int status)
{
	int signal = WSTOPSIG(status);

	switch (status >> 16) {
	case PTRACE_EVENT_SECCOMP:
		return seccomp_stop(jail, task);
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		return birth_stop(jail, task);
	case PTRACE_EVENT_EXEC:
		return exec_stop(jail, task);
	case PTRACE_EVENT_STOP:
		return event_stop(jail, task, status);
	}
	if (signal == SYSCALL_STOP) {
		jail->mark = true;
		return syscall_stop(jail, task);
	}
	return nj_signal_stop(jail, task, signal);
}

// One status of wait4(): 1 if Python has something to do.
static int handle(struct nj_jail *jail, int32_t tid, int status)
{
	struct nj_task *task;
	int error;

	if (tid == jail->front)
		return nj_front_stopped(jail->shared, tid, status);
	// The one fork before the exec: launch.c.
	if (jail->launching && tid != jail->command && !jail->holder)
		jail->holder = tid;
	if (tid == jail->holder)
		return nj_holder_stop(jail, status);
	if (!WIFSTOPPED(status))
		return ended(jail, tid, status);
	task = nj_task_find(jail, tid);
	error = task ? stopped(jail, task, status) : nj_unclaimed(jail, tid);
	// SIGKILL came between the stop and our request: its end will be reported. If it is
	// still stopped, then nobody would ever resume it: the jail cannot go on.
	return error == -ESRCH && !nj_is_stopped(tid) ? 0 : error;
}

// Run the jail until there is something for Python.
//
// Returns 0 with *ret filled in, or -errno: then the jail cannot go on.
int nj_next(struct nj_jail *jail, struct nj_stop *ret)
{
	jail->stop = ret;
	for (;;) {
		int status = 0, done;
		int32_t tid;

		if (!jail->tasks) {
			*ret = (struct nj_stop){ .kind = NJ_DONE };
			return 0;
		}
		tid = nj_ticked() ? -EINTR : next_status(jail, &status);
		if (tid == -EINTR) {
			(void)nj_ticked();
			nj_adopt_unclaimed(jail);
			if (jail->listener >= 0)
				nj_answer_strangers(jail);
			*ret = (struct nj_stop){ .kind = NJ_TICK };
			return 0;
		}
		if (tid < 0)
			return tid;
		nj_watch_begin();
		done = handle(jail, tid, status);
		nj_watch_end();
		if (done)
			return done < 0 ? done : 0;
	}
}
