// How the vault gets into a tracee: system calls made in its name, and notify.c. In the
// same way a descriptor comes out (lend.c), with sendmsg in place of mmap.
//
// The caller of an allowed call is turned into: the one number of the filter
// (whose USER_NOTIF lets us install a descriptor: no path, no scratch memory),
// mmap, close, and where the kernel has it mseal. Then its own call runs again.
// At every stop the architecture, number, arguments and instruction pointer must
// be exactly what was injected; another thread may have rewritten the code. The calls
// are of the ABI of the caller's own, whose instruction they run again.
#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
// Of syscall, sysenter and int $0x80. After the vdso's sysenter or 32-bit syscall the
// pointer is behind the int $0x80 that lies there for restarts
// (arch/x86/entry/vdso/vdso32/system_call.S).
#define SYSCALL_SIZE 2
#define TRIES_MAX 3

struct planned {
	uint64_t number;
	uint64_t args[6];
};

static struct planned plan_of(const struct nj_jail *jail, const struct nj_task *task)
{
	const struct nj_abi *abi = task->call->abi;
	uint64_t key = jail->config.notify_key;

	switch (task->stage) {
	case NJ_INJECT_FD:
		return (struct planned){ abi->word == 4 ? jail->config.notify_number_i386
							: jail->config.notify_number,
					 { (uint32_t)key, key >> 32 } };
	case NJ_INJECT_MAP:
	case NJ_INJECT_MAPPED:
		if (task->lending.under_way)
			return (struct planned){ abi->sendmsg,
						 { (uint64_t)task->injected_fd, task->lending.address,
						   MSG_DONTWAIT | MSG_NOSIGNAL } };
		return (struct planned){ abi->mmap,
					 { NJ_VAULT_BASE, NJ_VAULT_SIZE, PROT_READ,
					   MAP_SHARED | MAP_FIXED_NOREPLACE,
					   (uint64_t)task->injected_fd, 0 } };
	case NJ_INJECT_CLOSE:
	case NJ_INJECT_CLOSED:
		return (struct planned){ abi->close, { (uint64_t)task->injected_fd } };
	case NJ_INJECT_FILTER:
		return (struct planned){ abi->seccomp,
					 { SECCOMP_SET_MODE_FILTER,
					   SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
					   nj_sources_program(abi->word) } };
	default:
		return (struct planned){ SYS_mseal, { NJ_VAULT_BASE, NJ_VAULT_SIZE } };
	}
}

static bool as_planned(const struct nj_task *task, struct user_regs_struct *regs,
		       const struct planned *plan)
{
	return regs->rip == task->saved.rip && regs->orig_rax == plan->number &&
	       nj_arguments_are(task->call->abi, regs, plan->args);
}

static int block_signals(struct nj_task *task)
{
	uint64_t all = ~0ULL;

	// A handler that ran in the middle could map a page of its own there.
	if (ptrace(PTRACE_GETSIGMASK, task->tid, sizeof(task->mask), &task->mask) < 0)
		return -errno;
	return ptrace(PTRACE_SETSIGMASK, task->tid, sizeof(all), &all) < 0 ? -errno : 0;
}

// The task was let go towards its notification. It gets there at once, or stops
// or dies on the way: wait for either, but never for long.
static void serve(struct nj_jail *jail, struct nj_task *task)
{
	struct pollfd poll_fd = { .fd = jail->listener, .events = POLLIN };

	for (int i = 0; i < 200; i++) {
		siginfo_t info = { 0 };

		if (poll(&poll_fd, 1, i < 10 ? 1 : 10) > 0) {
			nj_answer_strangers(jail);
			return;
		}
		if (waitid(P_PID, (id_t)task->tid, &info,
			   WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) < 0 ||
		    info.si_pid)
			return;
	}
}

// The call that the task is about to make becomes the first one of the injection. The
// filter has spoken already: it is run once more, but does not stop twice
// (recheck_after_trace in kernel/seccomp.c).
static int begin(struct nj_jail *jail, struct nj_task *task, enum nj_stage stage)
{
	struct planned plan;
	struct user_regs_struct regs;
	int error = nj_get_registers(task->tid, &task->saved);

	if (!error)
		error = block_signals(task);
	if (error)
		return error;
	task->stage = stage;
	task->injected_fd = -1;
	regs = task->saved;
	plan = plan_of(jail, task);
	nj_arguments_set(task->call->abi, &regs, plan.args);
	regs.orig_rax = plan.number;
	error = nj_set_registers(task->tid, &regs);
	return error ? error : nj_resume(task->tid, PTRACE_SYSCALL, 0);
}

// `task` is at its seccomp stop with an allowed call. Its notification is served here,
// or at a later tick if it is kept from running.
int nj_inject(struct nj_jail *jail, struct nj_task *task)
{
	int error;

	if (task->tries++ >= TRIES_MAX)
		return -EAGAIN;
	error = begin(jail, task, NJ_INJECT_FD);
	if (!error)
		serve(jail, task);
	return error;
}

// The same for the filter of sources.c; it is tried once in a process.
int nj_inject_filter(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_process *process = task->process;

	process->sources = NJ_SOURCES_NEVER;
	return begin(jail, task, NJ_INJECT_FILTER);
}

static int restore_mask(const struct nj_task *task)
{
	return ptrace(PTRACE_SETSIGMASK, task->tid, sizeof(task->mask), &task->mask) < 0 ? -errno
											 : 0;
}

// End: the registers as they were before the call, which then runs again.
static int run_again(struct nj_task *task)
{
	struct user_regs_struct regs = task->saved;
	int error;

	regs.rax = regs.orig_rax;
	regs.rip -= SYSCALL_SIZE;
	regs.orig_rax = (uint64_t)-1;  // no call is under way: nothing to restart
	error = nj_set_registers(task->tid, &regs);
	if (!error)
		error = restore_mask(task);
	task->stage = NJ_RUNNING;
	return error ? error : nj_resume(task->tid, PTRACE_CONT, 0);
}

static int step(struct nj_jail *jail, struct nj_task *task, enum nj_stage stage)
{
	struct user_regs_struct regs = task->saved;
	struct planned plan;

	task->stage = stage;
	plan = plan_of(jail, task);
	nj_arguments_set(task->call->abi, &regs, plan.args);
	regs.rax = plan.number;
	regs.rip -= SYSCALL_SIZE;
	regs.orig_rax = (uint64_t)-1;
	if (nj_set_registers(task->tid, &regs) < 0)
		return -ESRCH;
	return nj_resume(task->tid, nj_request(task), 0);
}

static int after_exit(struct nj_jail *jail, struct nj_task *task, int64_t result)
{
	switch (task->stage) {
	case NJ_INJECT_FD:
		// What was not handed over is the program's own: it must not be closed.
		if (result < 0 || result != task->injected_fd) {
			task->vault_error = result < 0 ? (int)-result : EINTR;
			nj_lend_end(task);
			return run_again(task);
		}
		return step(jail, task, NJ_INJECT_MAP);
	case NJ_INJECT_MAPPED:
		if (task->lending.under_way)
			nj_lend_sent(jail, task, result);
		// EEXIST: another thread of the process was quicker, or put something
		// in its place; the check of the mapping will tell which.
		else
			task->vault_error = result < 0 && result != -EEXIST ? (int)-result : 0;
		return step(jail, task, NJ_INJECT_CLOSE);
	case NJ_INJECT_CLOSED:
		if (jail->seal && !task->vault_error && !task->lending.under_way)
			return step(jail, task, NJ_INJECT_SEAL);
		nj_lend_end(task);
		return run_again(task);
	case NJ_INJECT_FILTER:
		// TSYNC gives the tid of a thread that it could not bring along.
		if (!result)
			task->process->sources = NJ_SOURCES_SHOWN;
		return run_again(task);
	default:
		return run_again(task);
	}
}

static int after_entry(struct nj_task *task)
{
	task->stage++;  // about to enter -> in
	return nj_resume(task->tid, PTRACE_SYSCALL, 0);
}

// With filters of its own, a seccomp stop comes between entry and exit: that of ours at
// mmap, or of theirs where SECCOMP_RET_TRACE finds no tracer but us.
static bool is_due(const struct nj_task *task, bool entering, uint8_t op)
{
	if (op == PTRACE_SYSCALL_INFO_SECCOMP)
		return task->stage == NJ_INJECT_MAP ||
		       (task->process->filtered && !entering && task->stage != NJ_INJECT_FD);
	return op == (entering ? PTRACE_SYSCALL_INFO_ENTRY : PTRACE_SYSCALL_INFO_EXIT);
}

// A stop of a task under injection. *ret_own: it is the tracee's own call after
// all (its code was rewritten, or it was sent elsewhere); the injection is over.
int nj_inject_stop(struct nj_jail *jail, struct nj_task *task, bool *ret_own)
{
	struct planned plan = plan_of(jail, task);
	struct __ptrace_syscall_info info;
	struct user_regs_struct regs;
	bool entering = task->stage == NJ_INJECT_MAP || task->stage == NJ_INJECT_CLOSE ||
			task->stage == NJ_INJECT_SEAL;
	int error = nj_get_registers(task->tid, &regs);

	*ret_own = false;
	if (error)
		return error;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, task->tid, sizeof(info), &info) < 0)
		return -errno;
	if (info.arch != task->call->abi->arch || !is_due(task, entering, info.op) ||
	    !as_planned(task, &regs, &plan)) {
		*ret_own = true;
		nj_inject_abandon(task);
		return 0;
	}
	if (entering)
		return after_entry(task);
	if (info.op == PTRACE_SYSCALL_INFO_SECCOMP)
		return nj_resume(task->tid, PTRACE_SYSCALL, 0);
	return after_exit(jail, task, (int64_t)regs.rax);
}

// The tracee left the path that we laid. What it does is its own again; all we
// owe it is the signals that it had not blocked.
void nj_inject_abandon(struct nj_task *task)
{
	task->stage = NJ_RUNNING;
	nj_lend_end(task);
	(void)restore_mask(task);
}
