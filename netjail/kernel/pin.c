// A judged call on our copy of what was judged, from its start to its exit stop.
#include <errno.h>
#include <string.h>

#include "core.h"

// What a call that a signal cut short returns at its exit stop, before the
// kernel decides between EINTR and running it again: include/linux/errno.h.
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

static bool will_restart(int64_t result)
{
	return result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND ||
	       result == -ERESTART_RESTARTBLOCK;
}

// Give the call another argument, mostly our copy's place; the exit stop puts it back.
static int change(struct nj_task *task, int argument, uint64_t value)
{
	struct nj_call *call = task->call;

	if (!(call->changed & 1U << argument) && call->registers[argument] == value)
		return 0;
	call->changed |= 1U << argument;
	return nj_poke(task->tid, call->abi->argument[argument], value);
}

static int change_number(struct nj_task *task, uint64_t number)
{
	task->call->renumbered = true;
	return nj_poke(task->tid, offsetof(struct user_regs_struct, orig_rax), number);
}

// Its arguments were in memory: what it runs as is not what its caller called.
bool nj_folded(const struct nj_call *call)
{
	return call->info.seccomp.nr != call->number;
}

// The registers as the judged call has them: only a folded one has others.
static int lay_out(struct nj_task *task)
{
	struct nj_call *call = task->call;
	int error = 0;

	call->changed = 0;
	call->renumbered = false;
	if (!nj_folded(call))
		return 0;
	for (uint32_t i = 0; i < call->words && !error; i++)
		error = change(task, (int)i, nj_args_of(task)[i]);
	return error ? error : change_number(task, call->info.seccomp.nr);
}

// The name that the kernel gets: the judged one, or the path that pins it.
static const uint8_t *name_of(const struct nj_call *call, uint32_t *ret_size)
{
	*ret_size = call->held ? call->path_size : call->name_size;
	return call->held ? call->path : call->name;
}

static void fill_message(const struct nj_call *call, uint8_t *slot, uint64_t address)
{
	struct msghdr message = call->message;
	uint32_t size;
	const uint8_t *name = name_of(call, &size);

	message.msg_name = call->named ? (void *)(address + NJ_SLOT_NAME) : NULL;
	message.msg_namelen = size;
	if (message.msg_controllen)
		message.msg_control = (void *)(address + NJ_SLOT_CONTROL);
	memcpy(slot + NJ_SLOT_NAME, name, size);
	memcpy(slot + NJ_SLOT_CONTROL, call->control, message.msg_controllen);
	nj_message_write(call->abi, &message, slot);
}

static int point_to(struct nj_jail *jail, struct nj_task *task, uint8_t *slot, uint64_t address)
{
	const struct nj_row *row = nj_row_of(jail, task);
	struct nj_call *call = task->call;
	const uint8_t *name;
	uint32_t size;
	int error = lay_out(task);

	if (error)
		return error;
	if (call->shape == NJ_SENDMSG || call->shape == NJ_SENDMMSG) {
		fill_message(call, slot, address);
		error = change(task, row->name, address);
		if (error || call->shape == NJ_SENDMSG)
			return error;
		// One sendmsg a message: sendmmsg would write its lengths into the vault.
		error = change(task, 2, nj_args_of(task)[row->flags]);
		return error ? error : change_number(task, call->abi->sendmsg);
	}
	name = name_of(call, &size);
	memcpy(slot, name, size);
	error = change(task, row->name, address);
	return error ? error : change(task, row->length, size);
}

static int run_to_its_end(struct nj_task *task)
{
	task->again = false;
	task->stage = NJ_IN_CALL;
	return nj_resume(task->tid, PTRACE_SYSCALL, 0);
}

static int unpinned(struct nj_jail *jail, struct nj_task *task, int cause)
{
	nj_unpinned(jail, task, cause);
	return nj_refuse(jail, task, ENOBUFS);
}

static int pin_verified(struct nj_jail *jail, struct nj_task *task)
{
	uint64_t address;
	uint8_t *slot;
	int error = nj_slot_take(jail, task, &slot, &address);

	if (error)
		return unpinned(jail, task, -error);
	task->told = false;
	task->tries = 0;
	error = point_to(jail, task, slot, address);
	return error ? error : run_to_its_end(task);
}

// Let the judged call run on our copy of what was judged.
//
// No trust is inherited: the first allowed call after a fork, clone or exec
// looks at the mapping again (MADV_DONTFORK and a MAP_GROWSDOWN page can put
// something else there in a child).
int nj_pin(struct nj_jail *jail, struct nj_task *task)
{
	int error = 0;

	if (!task->process->vault) {
		error = nj_vault_verify(jail, task->tid);
		if (error == -ENOENT) {
			nj_remember_again(task);
			error = nj_inject(jail, task);
			return error == -EAGAIN ? unpinned(jail, task, task->vault_error) : error;
		}
		task->process->vault = !error;
	}
	if (!error && task->call->led && !task->process->filtered &&
	    task->process->sources == NJ_SOURCES_NOT_YET) {
		nj_remember_again(task);
		return nj_inject_filter(jail, task);
	}
	return error ? unpinned(jail, task, -error) : pin_verified(jail, task);
}

static int restore(struct nj_task *task)
{
	const struct nj_call *call = task->call;
	int error = 0;

	for (int i = 0; i < 6 && !error; i++)
		if (call->changed & 1U << i)
			error = nj_poke(task->tid, call->abi->argument[i], call->registers[i]);
	if (!error && call->renumbered)
		error = nj_poke(task->tid, offsetof(struct user_regs_struct, orig_rax),
				call->number);
	return error;
}

int nj_go_on(struct nj_task *task)
{
	task->stage = NJ_RUNNING;
	return nj_resume(task->tid, PTRACE_CONT, 0);
}

// Let the call run as it was read: as it stands, or a folded one by its registers.
int nj_run(struct nj_task *task)
{
	int error;

	if (!nj_folded(task->call)) {
		task->again = false;
		return nj_go_on(task);
	}
	error = lay_out(task);
	return error ? error : run_to_its_end(task);
}

// The same with one argument changed.
int nj_run_with(struct nj_task *task, int argument, uint64_t value)
{
	int error = lay_out(task);

	if (!error)
		error = change(task, argument, value);
	return error ? error : run_to_its_end(task);
}

static int set_result(struct nj_task *task, int64_t result)
{
	return nj_poke(task->tid, offsetof(struct user_regs_struct, rax), (uint64_t)result);
}

static int next_message(struct nj_task *task)
{
	struct user_regs_struct regs;
	int error = nj_get_registers(task->tid, &regs);

	if (error)
		return error;
	regs.rip -= 2;
	regs.rax = task->call->number;
	regs.orig_rax = (uint64_t)-1;
	error = nj_set_registers(task->tid, &regs);
	task->call->index++;
	task->stage = NJ_NEXT_MESSAGE;
	return error ? error : nj_resume(task->tid, PTRACE_CONT, 0);
}

uint32_t nj_messages_of(const struct nj_jail *jail, const struct nj_task *task)
{
	uint32_t count = (uint32_t)nj_args_of(task)[nj_row_of(jail, task)->length];

	return count < NJ_MESSAGES_MAX ? count : NJ_MESSAGES_MAX;
}

// __sys_sendmmsg() of net/socket.c: the length sent goes into the vector, a
// short send or an error ends it, and after one success the count is returned.
static int message_sent(struct nj_jail *jail, struct nj_task *task, int64_t result)
{
	struct nj_call *call = task->call;
	uint64_t vector = nj_args_of(task)[nj_row_of(jail, task)->name];
	uint64_t at = nj_message_length_at(call->abi, vector, call->index);
	uint32_t length = (uint32_t)result;
	int error = 0;

	if (result >= 0 &&
	    nj_write(task->tid, at, &length, sizeof(length)) != sizeof(length))
		result = -EFAULT;
	if (result >= 0) {
		call->sent++;
		if (call->index + 1 < nj_messages_of(jail, task) &&
		    length >= nj_message_size(call->abi, task->tid, &call->message))
			return next_message(task);
	} else if (will_restart(result) && !call->sent) {
		nj_remember_again(task);
		return nj_go_on(task);
	}
	error = set_result(task, call->sent ? call->sent : result);
	return error ? error : nj_go_on(task);
}

// The exit stop of a pinned call.
//
// Returns 1 if Python asked for the result.
int nj_call_exit(struct nj_jail *jail, struct nj_task *task)
{
	int64_t result = nj_result(task->tid);
	uint64_t token = task->token;
	bool pinned = task->slot >= 0;
	int error = restore(task);

	nj_slot_free(jail, task);
	if (error)
		return error;
	task->token = 0;
	if (token)
		*jail->stop = (struct nj_stop){ .kind = NJ_RESULT, .tid = task->tid, .token = token,
						.result = will_restart(result) ? -EINTR : result };
	if (pinned && task->call->shape == NJ_SENDMMSG) {
		error = message_sent(jail, task, result);
	} else {
		if (will_restart(result)) {
			nj_remember_again(task);
			task->token = token;
			task->told = true;
		}
		error = nj_go_on(task);
	}
	return error ? error : token != 0;
}

// A signal comes between two messages of a sendmmsg: it returns what it sent.
int nj_call_cut_short(struct nj_task *task)
{
	struct user_regs_struct regs;
	int error = nj_get_registers(task->tid, &regs);

	task->stage = NJ_RUNNING;
	if (error || regs.rip != task->call->info.instruction_pointer - 2)
		return error;
	regs.rip += 2;
	regs.rax = task->call->sent;
	return nj_set_registers(task->tid, &regs);
}
