// Verdicts on calls: by the cache, by Python, and how a refusal is carried out.
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "core.h"

void nj_remember_again(struct nj_task *task)
{
	const struct __ptrace_syscall_info *info = &task->call->info;

	task->again = true;
	task->again_arch = info->arch;
	task->again_ip = info->instruction_pointer;
	task->again_number = info->seccomp.nr;
	memcpy(task->again_args, info->seccomp.args, sizeof(task->again_args));
}

bool nj_is_again(const struct nj_task *task)
{
	const struct __ptrace_syscall_info *info = &task->call->info;

	return task->again && task->again_arch == info->arch &&
	       task->again_ip == info->instruction_pointer &&
	       task->again_number == info->seccomp.nr &&
	       !memcmp(task->again_args, info->seccomp.args, sizeof(task->again_args));
}

// Remember a socket that the jail made: it may receive.
void nj_own_socket(struct nj_jail *jail, const struct nj_descriptor *descriptor)
{
	if (!descriptor->error && descriptor->cookie)
		(void)nj_owners_add(jail->config.owners, descriptor->cookie);
}

// Hand the stop to Python; its caller waits.
int nj_ask_python(struct nj_jail *jail, struct nj_task *task)
{
	const struct nj_call *call = task->call;
	struct nj_stop *stop = jail->stop;

	*stop = (struct nj_stop){
		.kind = NJ_CALL,
		.tid = task->tid,
		.pid = task->process->pid,
		.row = call->row,
		.process = task->process->id,
		.arch = call->info.arch,
		.number = (int32_t)call->info.seccomp.nr,
		.fault = call->fault,
		.again = nj_is_again(task),
		.named = call->named,
		.name_size = call->name_size,
		.descriptor = call->descriptor,
	};
	memcpy(stop->args, nj_args_of(task), sizeof(stop->args));
	memcpy(stop->name, call->name, call->name_size);
	task->stage = NJ_PARKED;
	return 1;
}

// What comes again with the same registers, but with another name or another socket,
// is a new attempt: EINTR gave its caller the time to change them.
static void compare(struct nj_task *task, const uint8_t *name, uint32_t size, uint64_t cookie)
{
	const struct nj_call *call = task->call;

	if (size == call->name_size && !memcmp(name, call->name, size) &&
	    (!cookie || cookie == call->descriptor.cookie))
		return;
	task->again = false;
	task->token = 0;
}

static void describe(struct nj_jail *jail, struct nj_task *task, uint32_t fd)
{
	struct nj_call *call = task->call;

	nj_describe(task, fd, &call->descriptor, NULL);
	if (call->descriptor.type == SOCK_DGRAM)
		nj_own_socket(jail, &call->descriptor);
	if (call->descriptor.device > NJ_LOOPBACK_DEVICE)
		nj_steer(call);
	if (call->steered) {
		// Nobody is known to hear it. No cookie: the next call reads the socket anew.
		call->descriptor.netns = 0;
		call->descriptor.cookie = 0;
	}
}

// What any program makes. Others are made in no jail, but may come from outside: raw ones
// over a unix socket, SCM_RIGHTS of unix(7).
static bool is_usual(const struct nj_descriptor *found)
{
	if (found->error)
		return true;
	if (found->domain != AF_INET && found->domain != AF_INET6)
		return false;
	if (found->type == SOCK_DGRAM)
		return found->protocol == IPPROTO_UDP;
	return found->type == SOCK_STREAM &&
	       (found->protocol == IPPROTO_TCP || found->protocol == IPPROTO_MPTCP);
}

// A verdict that holds whatever the descriptor usually is. A datagram socket is looked
// at all the same: it can receive once it sends or connects. The number says nothing:
// the next socket of a program often has the last one's.
static struct nj_cached *known_for_any(struct nj_jail *jail, struct nj_task *task)
{
	const struct nj_call *call = task->call;

	return call->steered || call->fault ? NULL : nj_cache_find(jail, task, true);
}

static int carry_out(struct nj_jail *jail, struct nj_task *task, struct nj_cached *known)
{
	if (!nj_is_again(task))
		known->count++;
	return known->error ? nj_refuse(jail, task, known->error) : nj_pin(jail, task);
}

// Judge a call that names somebody: by the cache, or by Python.
int nj_judge(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_call *call = task->call;
	uint32_t fd = (uint32_t)nj_args_of(task)[nj_row_of(jail, task)->descriptor];
	uint64_t cookie = call->descriptor.cookie;
	uint32_t size = call->name_size;
	uint8_t name[NJ_NAME_MAX];
	struct nj_cached *known;
	int lending;

	memcpy(name, call->name, size);
	nj_read_call(jail, task);
	// It names nobody: what it goes to was judged when it was connected.
	if (!call->named && !call->fault)
		return nj_pin(jail, task);
	known = known_for_any(jail, task);
	if (known && known->error) {
		nj_lend_forget(task);
	} else {
		lending = nj_lend(jail, task, fd);
		if (lending)
			return lending < 0 ? lending : 0;
		describe(jail, task, fd);
	}
	if (known && !call->fault && (known->error || is_usual(&call->descriptor))) {
		compare(task, name, size, 0);
		return carry_out(jail, task, known);
	}
	compare(task, name, size, cookie);
	known = nj_cache_find(jail, task, false);
	return known ? carry_out(jail, task, known) : nj_ask_python(jail, task);
}

// Finish a sendmmsg that is not to go on, or any other call, without running it.
int nj_finish(struct nj_task *task, int64_t result)
{
	struct nj_call *call = task->call;
	int error;

	if (call->shape == NJ_SENDMMSG && call->sent && result < 0)
		result = call->sent;
	task->again = false;
	task->tries = 0;
	task->stage = NJ_RUNNING;
	error = nj_skip(task->tid, result);
	return error ? error : nj_resume(task->tid, PTRACE_CONT, 0);
}

int nj_refuse(struct nj_jail *jail, struct nj_task *task, int error)
{
	nj_slot_free(jail, task);
	return nj_finish(task, -error);
}
