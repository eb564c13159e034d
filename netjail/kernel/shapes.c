// What each shape of row does about a call; api.h lists the shapes.
#include <errno.h>

#include "core.h"

static int on_network(struct nj_jail *jail, struct nj_task *task)
{
	return nj_judge(jail, task);
}

static int on_messages(struct nj_jail *jail, struct nj_task *task)
{
	if (!nj_messages_of(jail, task))
		return nj_run(task);
	return nj_judge(jail, task);
}

// The name of a listener is its own, read from our duplicate, which is also
// what listens later: no other thread can put another socket in its place.
static int on_listen(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_call *call = task->call;
	socklen_t size = sizeof(call->name);
	int lending;

	if (call->duplicate >= 0)
		return nj_ask_python(jail, task);
	lending = nj_lend(jail, task, (uint32_t)nj_args_of(task)[0]);
	if (lending)
		return lending < 0 ? lending : 0;
	nj_describe(task, (uint32_t)nj_args_of(task)[0], &call->descriptor, &call->duplicate);
	call->fault = 0;
	call->name_size = 0;
	call->named = true;
	if (call->duplicate >= 0 &&
	    getsockname(call->duplicate, (struct sockaddr *)call->name, &size) == 0)
		call->name_size = size;
	nj_own_socket(jail, &call->descriptor);
	return nj_ask_python(jail, task);
}

// An address can tie an IPv6 socket to a device, and nothing else: only there is it read,
// and then it must be what the kernel reads too.
static int on_bind(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_call *call = task->call;
	const struct nj_descriptor *found = &call->descriptor;
	int lending = nj_lend(jail, task, (uint32_t)nj_args_of(task)[0]);
	bool none;

	if (lending)
		return lending < 0 ? lending : 0;
	nj_describe(task, (uint32_t)nj_args_of(task)[0], &call->descriptor, NULL);
	nj_own_socket(jail, found);
	none = found->error == EBADF || found->error == ENOTSOCK;
	if (!found->shared && (none || (!found->error && found->domain != AF_INET6)))
		return nj_run(task);
	nj_read_call(jail, task);
	if (call->fault || nj_names_device(call))
		return nj_ask_python(jail, task);
	return nj_pin(jail, task);
}

static int ask_without_name(struct nj_jail *jail, struct nj_task *task)
{
	task->call->named = false;
	task->call->name_size = 0;
	task->call->descriptor = (struct nj_descriptor){ .error = ENOTSOCK };
	return nj_ask_python(jail, task);
}

static int on_registers(struct nj_jail *jail, struct nj_task *task)
{
	task->call->fault = 0;
	return ask_without_name(jail, task);
}

// mmap and shmat near the vault. Fixed: refused and said if it would touch it; else the
// hint is dropped, as the kernel may do with any hint.
static int on_map(struct nj_jail *jail, struct nj_task *task)
{
	const struct nj_row *row = nj_row_of(jail, task);
	const uint64_t *args = nj_args_of(task);
	bool attach = row->length < 0;
	uint64_t size = attach ? NJ_VAULT_SIZE : args[row->length];
	uint64_t flags = args[row->flags], end = args[row->name] + size;
	bool fixed = flags & (attach ? 040000 /* SHM_REMAP */ : 0x10 /* MAP_FIXED */);
	bool keep = !attach && flags & 0x100000;  // MAP_FIXED_NOREPLACE

	if (end >= args[row->name] && end <= NJ_VAULT_BASE)
		return nj_run(task);
	if (fixed)
		return on_registers(jail, task);
	if (keep)
		return nj_refuse(jail, task, EEXIST);
	return nj_run_with(task, row->name, 0);
}

#define CLONE_UNTRACED_FLAG 0x00800000
#define CLONE_FILES_FLAG 0x400
#define CLONE_THREAD_FLAG 0x10000

// The flags are in a register, so that nobody can change them behind us.
static int on_clone(struct nj_jail *jail, struct nj_task *task)
{
	uint64_t flags = nj_args_of(task)[0];

	(void)jail;
	if (flags & CLONE_FILES_FLAG && !(flags & CLONE_THREAD_FLAG))
		task->process->files_shared = true;
	if (flags & CLONE_UNTRACED_FLAG)
		return nj_run_with(task, 0, flags & ~(uint64_t)CLONE_UNTRACED_FLAG);
	return nj_run(task);
}

// A process that is not dumpable cannot be read by an ordinary user's tracer.
static int on_dumpable(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_process *process = task->process;
	uint32_t option = (uint32_t)nj_args_of(task)[0];

	(void)jail;
	if (option == 3 /* PR_GET_DUMPABLE */)
		return process->undumpable ? nj_finish(task, 0) : nj_run(task);
	if (nj_args_of(task)[1] > 1)
		return nj_run(task);  // EINVAL
	process->undumpable = !nj_args_of(task)[1];
	return process->undumpable ? nj_finish(task, 0) : nj_run(task);
}

static int on_prlimit(struct nj_jail *jail, struct nj_task *task)
{
	int32_t pid = (int32_t)nj_args_of(task)[nj_row_of(jail, task)->name];

	if (nj_task_find(jail, pid) || nj_in_own_namespace(task->tid))
		return nj_run(task);
	return nj_refuse(jail, task, EPERM);
}

// The tracee is about to make it hard to lend it the vault, by a filter of its own or
// by locking what is mapped from here on: the vault comes first.
static int on_filter(struct nj_jail *jail, struct nj_task *task)
{
	if (!task->process->vault && !task->tries && nj_vault_verify(jail, task->tid) == -ENOENT) {
		nj_remember_again(task);
		return nj_inject(jail, task);
	}
	task->tries = 0;
	task->process->filtered = true;
	return nj_run(task);
}

// A folded call whose arguments cannot be read. Where it might have reached somebody it
// is told of; the old mmap is not.
static int on_folded(struct nj_jail *jail, struct nj_task *task)
{
	if (nj_row_of(jail, task)->runs == (int32_t)task->call->abi->mmap)
		return nj_refuse(jail, task, task->call->fault);
	return ask_without_name(jail, task);
}

static int (*const SHAPES[])(struct nj_jail *, struct nj_task *) = {
	[NJ_CONNECT] = on_network,   [NJ_SENDTO] = on_network,	 [NJ_SENDMSG] = on_network,
	[NJ_SENDMMSG] = on_messages, [NJ_LISTEN] = on_listen,	 [NJ_BIND] = on_bind,
	[NJ_SOCKET] = on_registers,  [NJ_MAP] = on_map,		 [NJ_SHUT] = on_registers,
	[NJ_CLONE] = on_clone,	     [NJ_DUMPABLE] = on_dumpable, [NJ_PRLIMIT] = on_prlimit,
	[NJ_FILTER] = on_filter,     [NJ_FOLDED] = on_folded,
	[NJ_SIGNAL] = nj_signal_call,
};

// Do what the row's shape says; 1 if Python is to decide, else 0 or -errno.
int nj_act_on(struct nj_jail *jail, struct nj_task *task)
{
	return SHAPES[task->call->shape](jail, task);
}
