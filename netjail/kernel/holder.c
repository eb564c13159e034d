// A process that holds the files of judged unix paths, so that the call goes to the
// very inode that was judged: connect("/proc/<holder>/fd/<n>"), see proc(5).
//
// A path can be led elsewhere between judging and connecting: a link swapped, a
// directory renamed. The holder is one of the jail's own processes (Landlock lets the
// jail look into nobody else), but it stands in a ptrace stop except while it is
// handed a file. The jail may rewrite its memory; what it then does when it runs is
// looked at: any event but the awaited one ends it, and the file that it holds is
// compared with the one that was handed over, after it stands again.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core.h"

#define FIRST 16     // the first number that a held file gets
#define PATIENCE 4000000000ULL  // nanoseconds
#define NUMBERS 512  // then the oldest makes room

// What the holder does, in a fork of the child that becomes the command.
void nj_holder_run(int channel)
{
	// Out of the command's group: what is sent to that is not for us.
	setsid();
	// Room below for what is open now: none of it is to outlive us here.
	if (dup2(channel, FIRST - 1) < 0)
		_exit(1);
	for (int fd = 0; fd < FIRST - 1; fd++)
		close(fd);
	syscall(436 /* close_range */, FIRST, ~0U, 0);
	for (;;) {
		int number = 0, fd;

		// The filter stops this call: "ready", and here it stands.
		syscall(SYS_bind, -1, NULL, 0);
		fd = nj_receive_descriptor(FIRST - 1, 0, &number);
		if (fd < 0 || dup2(fd, number) < 0)
			_exit(0);
		close(fd);
	}
}

// Whoever gets the holder's pid next could lead a call under way elsewhere: a
// connect that waits for room in the backlog looks its path up again.
static void end_held_calls(struct nj_jail *jail)
{
	for (uint32_t i = 0; i < NJ_BUCKETS; i++)
		for (struct nj_task *task = jail->buckets[i]; task; task = task->next)
			if (task->stage == NJ_IN_CALL && task->call->held)
				kill(task->process->pid, SIGKILL);
}

static void dismiss(struct nj_jail *jail)
{
	if (jail->holder > 0)
		kill(jail->holder, SIGKILL);
	jail->holder_ready = false;
}

// A status of the holder. Signals are not for it; anything else that it was not
// told to do ends it.
int nj_holder_stop(struct nj_jail *jail, int status)
{
	int event = status >> 16;

	if (!WIFSTOPPED(status)) {
		end_held_calls(jail);
		jail->holder = -1;
		jail->holder_ready = false;
		return 0;
	}
	if (event == PTRACE_EVENT_SECCOMP)
		jail->holder_ready = true;
	else if (event == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP)
		return nj_resume(jail->holder, PTRACE_CONT, 0);
	else if (event || WSTOPSIG(status) == (SIGTRAP | 0x80) || WSTOPSIG(status) == SIGSTOP)
		dismiss(jail);
	else
		return nj_resume(jail->holder, PTRACE_CONT, 0);
	return 0;
}

// It has its message already, so that it stands again at once; if it does not,
// somebody stopped it or made it do something else.
static int await_ready(struct nj_jail *jail)
{
	uint64_t end = nj_now() + PATIENCE;

	while (jail->holder > 0 && nj_now() < end) {
		int status;

		if (jail->holder_ready)
			return 0;
		if (waitpid(jail->holder, &status, __WALL | WNOHANG) > 0)
			(void)nj_holder_stop(jail, status);
		else
			usleep(20);
	}
	dismiss(jail);
	return -ECHILD;
}

// Have the O_PATH descriptor `fd` held; *ret is the path that leads to it.
int nj_hold(struct nj_jail *jail, int32_t fd, char *ret, uint32_t size)
{
	int number = FIRST + (int)(jail->held++ % NUMBERS);
	int error;

	// At first it may still be on its way to where it stands.
	if (jail->holder <= 0 || await_ready(jail) < 0)
		return -ECHILD;
	error = nj_send_descriptor(jail->holder_channel, fd, number);
	if (error)
		return error;
	jail->holder_ready = false;
	error = nj_skip(jail->holder, -EBADF);
	if (!error)
		error = nj_resume(jail->holder, PTRACE_CONT, 0);
	if (!error)
		error = await_ready(jail);
	if (error)
		return error;
	snprintf(ret, size, "/proc/%d/fd/%d", jail->holder, number);
	if (nj_same_inode(fd, ret) == 1)
		return 0;
	dismiss(jail);
	return -ESTALE;
}
