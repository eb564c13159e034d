// A seccomp stop: what is called, and which row of the table trapped it.
#include <errno.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

// Take the call that the task is stopped at out of its registers.
//
// *ret_next: it is the next message of a sendmmsg that is under way; what was read of
// that call at first still holds.
static int prepare(struct nj_task *task, bool *ret_next)
{
	struct __ptrace_syscall_info info;
	struct nj_call *call = task->call;

	if (!call) {
		call = task->call = calloc(1, sizeof(*call));
		if (!call)
			return -ENOMEM;
		call->duplicate = -1;
	}
	if (ptrace(PTRACE_GET_SYSCALL_INFO, task->tid, sizeof(info), &info) < 0)
		return -errno;
	*ret_next = task->stage == NJ_NEXT_MESSAGE && info.arch == call->info.arch &&
		    info.instruction_pointer == call->info.instruction_pointer &&
		    info.seccomp.nr == call->number &&
		    !memcmp(info.seccomp.args, call->registers, sizeof(call->registers));
	if (*ret_next)
		return 0;
	call->info = info;
	call->abi = nj_abi_of(info.arch);
	call->number = info.seccomp.nr;
	memcpy(call->registers, info.seccomp.args, sizeof(call->registers));
	for (int i = 0; i < 6 && call->abi; i++)
		call->info.seccomp.args[i] = nj_read_as(call->abi, call->registers[i]);
	return call->abi ? 0 : -ENOSYS;
}

static void start_or_go_on(struct nj_task *task, bool next)
{
	struct nj_call *call = task->call;

	task->stage = NJ_RUNNING;
	// A call that comes again after an injection keeps its place in the vector.
	if (!next && !nj_is_again(task)) {
		call->index = 0;
		call->sent = 0;
		task->again = false;
		task->token = 0;
		task->tries = 0;
	}
}

static bool trapped(uint32_t action)
{
	return (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_TRACE;
}

// The filter's word on the call, and which row it is.
static uint32_t find_row(const struct nj_jail *jail, struct nj_task *task)
{
	struct nj_call *call = task->call;
	uint32_t action = nj_evaluate(&jail->config, call->info.arch, (uint32_t)call->info.seccomp.nr,
				      call->info.instruction_pointer, nj_args_of(task));

	if (!trapped(action))
		return action;
	call->row = (int32_t)(action & SECCOMP_RET_DATA);
	if ((uint32_t)call->row >= jail->config.row_count)
		return SECCOMP_RET_KILL_PROCESS;
	call->shape = nj_row_of(jail, task)->shape;
	return action;
}

// Make the direct call of a folded one: its arguments are read here, once, and the
// kernel gets what was read. It is judged as that call from here on.
static uint32_t unfold(const struct nj_jail *jail, struct nj_task *task)
{
	const struct nj_row *row = nj_row_of(jail, task);
	struct nj_call *call = task->call;
	uint32_t words[6] = { 0 };

	call->fault = nj_read_exactly(task->tid, nj_args_of(task)[row->name], words,
				      row->words * sizeof(*words));
	if (row->runs == (int32_t)call->abi->mmap) {
		// Its offset is in bytes: ia32_mmap() in arch/x86/kernel/sys_ia32.c.
		if (!call->fault && words[5] & 4095)
			call->fault = EINVAL;
		words[5] >>= 12;
	}
	if (call->fault)
		return SECCOMP_RET_TRACE;
	call->words = row->words;
	call->info.seccomp.nr = (uint64_t)row->runs;
	for (int i = 0; i < 6; i++)
		call->info.seccomp.args[i] = words[i];
	return find_row(jail, task);
}

// Find the row that trapped the call, do what its shape says.
//
// Returns 1 if Python is to decide, else 0 or -errno.
int nj_call_stop(struct nj_jail *jail, struct nj_task *task)
{
	bool next;
	int error = prepare(task, &next);
	uint32_t action;

	if (error)
		return error;
	action = find_row(jail, task);
	if (trapped(action) && task->call->shape == NJ_FOLDED)
		action = unfold(jail, task);
	start_or_go_on(task, next);
	nj_lend_begun(task);
	if (trapped(action))
		return nj_act_on(jail, task);
	if (nj_folded(task->call) && action == SECCOMP_RET_ALLOW)
		return nj_run(task);
	if (nj_folded(task->call) && (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO)
		return nj_refuse(jail, task, (int)(action & SECCOMP_RET_DATA));
	if (action == SECCOMP_RET_ALLOW && nj_receives(task))
		return nj_receive(task);
	// Not ours: a filter of the tracee stopped it, and nobody traces for it.
	return nj_refuse(jail, task, ENOSYS);
}
