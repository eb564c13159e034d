// Signals on their way to a tracee.
#include <errno.h>
#include <linux/audit.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "core.h"

// Calls that give EINTR for any signal that wakes them, restart or not, and
// that can run again with the same arguments (signal(7), "Interruption of
// system calls and library functions by signal handlers"; those of sockets where a
// timeout is set). One that sent something says so instead. connect and close are not
// here: running them twice is not the same as once.
static const uint32_t RERUN[] = {
	SYS_epoll_wait,	  SYS_epoll_pwait,   441 /* epoll_pwait2 */, SYS_semop,
	SYS_semtimedop,	  SYS_rt_sigtimedwait, SYS_io_getevents,     SYS_recvfrom,
	SYS_recvmsg,	  SYS_recvmmsg,	     SYS_accept,	     SYS_accept4,
	SYS_read,	  SYS_readv,	     SYS_msgrcv,	     SYS_write,
	SYS_writev,	  SYS_sendto,	     SYS_sendmsg,
};

// The same by the numbers of i386, some of which have a second one for wider times.
static const uint32_t RERUN_I386[] = {
	256, 319, 441 /* epoll */, 420 /* semtimedop */, 177, 421 /* rt_sigtimedwait */,
	247 /* io_getevents */, 371, 372, 337, 417 /* receiving */, 364 /* accept4 */,
	3, 145, 4, 146 /* read, write */, 401 /* msgrcv */, 369, 370 /* sending */,
};

// Those that its socketcall and ipc have, by their first argument.
static const uint32_t RERUN_SOCKETCALL[] = { 5, 9, 10, 11, 12, 16, 17, 18, 19 };
static const uint32_t RERUN_IPC[] = { 1 /* SEMOP */, 4 /* SEMTIMEDOP */, 12 /* MSGRCV */ };

#define HAS(table, number) has(table, sizeof(table) / sizeof(*(table)), number)

static bool has(const uint32_t *table, size_t count, uint64_t number)
{
	for (size_t i = 0; i < count; i++)
		if (table[i] == number)
			return true;
	return false;
}

// At a signal's stop the kernel still knows under which ABI the call was made.
static bool can_rerun(int32_t tid, const struct user_regs_struct *regs)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) < 0)
		return false;
	if (info.arch != AUDIT_ARCH_I386)
		return HAS(RERUN, regs->orig_rax);
	if (regs->orig_rax == 102 /* socketcall */)
		return HAS(RERUN_SOCKETCALL, (uint32_t)regs->rbx);
	if (regs->orig_rax == 117 /* ipc */)
		return HAS(RERUN_IPC, regs->rbx & 0xFFFF);
	return HAS(RERUN_I386, regs->orig_rax);
}

struct masks {
	uint64_t pending, shared, blocked, ignored, caught;
	bool init;  // the first process of a PID namespace below ours
};

// "NSpid:" and its number in each namespace, ours first: proc(5).
static bool is_inner_init(const char *line)
{
	const char *last = strrchr(line, '\t');

	return !strncmp(line, "NSpid:", 6) && strchr(line, '\t') != last &&
	       !strcmp(last, "\t1\n");
}

static int read_masks(int32_t tid, struct masks *ret)
{
	char path[32], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "SigPnd: %lx", &ret->pending);
		sscanf(line, "ShdPnd: %lx", &ret->shared);
		sscanf(line, "SigBlk: %lx", &ret->blocked);
		sscanf(line, "SigIgn: %lx", &ret->ignored);
		sscanf(line, "SigCgt: %lx", &ret->caught);
		ret->init |= is_inner_init(line);
	}
	fclose(file);
	return 0;
}

static bool ignored_by_default(int signal)
{
	return signal == SIGCHLD || signal == SIGCONT || signal == SIGURG || signal == SIGWINCH;
}

// Without a tracer an ignored signal is dropped where it is sent and wakes
// nobody (sig_ignored() in kernel/signal.c); with one it wakes a sleeping call,
// which then returns EINTR. Put such a call back to where it was.
static int undo_interruption(struct nj_task *task, int signal)
{
	struct user_regs_struct regs;
	struct masks masks = { 0 };
	uint64_t bit = 1ULL << (signal - 1);

	if (nj_get_registers(task->tid, &regs) < 0)
		return -ESRCH;
	if ((int64_t)regs.orig_rax < 0 || (int64_t)regs.rax != -EINTR ||
	    !can_rerun(task->tid, &regs) || read_masks(task->tid, &masks) < 0)
		return 0;
	if (masks.caught & bit || !(masks.ignored & bit || ignored_by_default(signal)))
		return 0;
	// A signal with a handler waits as well: that one does interrupt.
	if ((masks.pending | masks.shared) & ~masks.blocked & masks.caught)
		return 0;
	regs.rax = regs.orig_rax;
	regs.rip -= 2;
	regs.orig_rax = (uint64_t)-1;
	return nj_set_registers(task->tid, &regs);
}

// A fault ends the first process of a PID namespace, but not while it is traced: it would
// fault again, for ever. See force_sig_info_to_task() in kernel/signal.c.
static bool must_end(const struct nj_task *task, int signal)
{
	struct masks masks = { 0 };
	siginfo_t info;

	if (signal != SIGSEGV && signal != SIGBUS && signal != SIGILL && signal != SIGFPE &&
	    signal != SIGTRAP && signal != SIGSYS)
		return false;
	if (ptrace(PTRACE_GETSIGINFO, task->tid, 0, &info) < 0 || info.si_code <= 0)
		return false;
	return !read_masks(task->tid, &masks) && masks.init &&
	       !(masks.caught & 1ULL << (signal - 1));
}

// A signal-delivery stop: pass the signal on.
int nj_signal_stop(struct nj_jail *jail, struct nj_task *task, int signal)
{
	int deliver = 1;

	(void)nj_signal_unmark(task->tid);
	// The command's signals may come twice, once through the front: relay.c.
	if (task->process->pid == jail->command)
		(void)nj_arrived(jail->shared, task->tid, &deliver);
	if (signal == SIGTTIN || signal == SIGTTOU) {
		int lent = 0;

		(void)nj_lend_terminal(jail->front, jail->command, task->tid, &lent);
		deliver &= !lent;
	}
	if (task->stage == NJ_NEXT_MESSAGE)
		(void)nj_call_cut_short(task);
	else if (task->stage >= NJ_INJECT_FD && signal != SIGSTOP)
		// All signals are blocked but SIGSTOP: it is a fault of rewritten code.
		nj_inject_abandon(task);
	else if (task->stage == NJ_RUNNING)
		(void)undo_interruption(task, signal);
	if (must_end(task, signal))
		signal = SIGKILL;
	return nj_resume(task->tid, nj_request(task), deliver ? signal : 0);
}
