// A seccomp stop: which row trapped it, and what each shape of row does.
#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "core.h"

static int pass(struct nj_task *task)
{
	task->again = false;
	return nj_go_on(task);
}

// Let it run with one argument changed, which its exit stop puts back.
static int pass_with(struct nj_task *task, int argument, uint64_t value)
{
	int error;

	task->call->changed = 0;
	error = nj_change(task, argument, value);
	if (error)
		return error;
	task->again = false;
	task->stage = NJ_IN_CALL;
	return nj_resume(task->tid, PTRACE_SYSCALL, 0);
}

static int on_network(struct nj_jail *jail, struct nj_task *task)
{
	return nj_judge(jail, task);
}

static int on_messages(struct nj_jail *jail, struct nj_task *task)
{
	if (!nj_messages_of(jail, task))
		return pass(task);
	return nj_judge(jail, task);
}

// The name of a listener is its own, read from our duplicate, which is also
// what listens later: no other thread can put another socket in its place.
static int on_listen(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_call *call = task->call;
	socklen_t size = sizeof(call->name);

	if (call->duplicate >= 0)
		return nj_ask_python(jail, task);
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
	bool none;

	nj_describe(task, (uint32_t)nj_args_of(task)[0], &call->descriptor, NULL);
	nj_own_socket(jail, found);
	none = found->error == EBADF || found->error == ENOTSOCK;
	if (!found->shared && (none || (!found->error && found->domain != AF_INET6)))
		return pass(task);
	nj_read_call(jail, task);
	if (call->fault || nj_names_device(call))
		return nj_ask_python(jail, task);
	return nj_pin(jail, task);
}

static int on_registers(struct nj_jail *jail, struct nj_task *task)
{
	task->call->fault = 0;
	task->call->named = false;
	task->call->name_size = 0;
	task->call->descriptor = (struct nj_descriptor){ .error = ENOTSOCK };
	return nj_ask_python(jail, task);
}

// mmap and shmat near the vault. Fixed: refused and said if it would touch it; else the
// hint is dropped, as the kernel may do with any hint.
static int on_map(struct nj_jail *jail, struct nj_task *task)
{
	const uint64_t *args = nj_args_of(task);
	bool attach = task->call->info.seccomp.nr == SYS_shmat;
	int address = attach ? 1 : 0;
	uint64_t size = attach ? NJ_VAULT_SIZE : args[1];
	bool fixed = attach ? args[2] & 040000 /* SHM_REMAP */ : args[3] & 0x10 /* MAP_FIXED */;
	bool keep = !attach && args[3] & 0x100000;  // MAP_FIXED_NOREPLACE
	uint64_t end = args[address] + size;

	if (end >= args[address] && end <= NJ_VAULT_BASE)
		return pass(task);
	if (fixed)
		return on_registers(jail, task);
	if (keep)
		return nj_refuse(jail, task, EEXIST);
	return pass_with(task, address, 0);
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
		return pass_with(task, 0, flags & ~(uint64_t)CLONE_UNTRACED_FLAG);
	return pass(task);
}

// A process that is not dumpable cannot be read by an ordinary user's tracer.
static int on_dumpable(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_process *process = task->process;
	uint32_t option = (uint32_t)nj_args_of(task)[0];

	(void)jail;
	if (option == 3 /* PR_GET_DUMPABLE */)
		return process->undumpable ? nj_finish(task, 0) : pass(task);
	if (nj_args_of(task)[1] > 1)
		return pass(task);  // EINVAL
	process->undumpable = !nj_args_of(task)[1];
	return process->undumpable ? nj_finish(task, 0) : pass(task);
}

// In a pid namespace of the jail's own, every process is the jail's; it has other
// numbers there.
static bool in_own_namespace(int32_t tid)
{
	struct stat ours, theirs;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", tid);
	return !stat("/proc/self/ns/pid", &ours) && !stat(path, &theirs) &&
	       (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev);
}

static int on_prlimit(struct nj_jail *jail, struct nj_task *task)
{
	int32_t pid = (int32_t)nj_args_of(task)[nj_row_of(jail, task)->name];

	if (nj_task_find(jail, pid) || in_own_namespace(task->tid))
		return pass(task);
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
	return pass(task);
}

static int (*const SHAPES[])(struct nj_jail *, struct nj_task *) = {
	[NJ_CONNECT] = on_network,   [NJ_SENDTO] = on_network,	 [NJ_SENDMSG] = on_network,
	[NJ_SENDMMSG] = on_messages, [NJ_LISTEN] = on_listen,	 [NJ_BIND] = on_bind,
	[NJ_SOCKET] = on_registers,  [NJ_MAP] = on_map,		 [NJ_SHUT] = on_registers,
	[NJ_CLONE] = on_clone,	     [NJ_DUMPABLE] = on_dumpable, [NJ_PRLIMIT] = on_prlimit,
	[NJ_FILTER] = on_filter,
};

static int prepare(struct nj_task *task)
{
	if (!task->call) {
		task->call = calloc(1, sizeof(*task->call));
		if (!task->call)
			return -ENOMEM;
		task->call->duplicate = -1;
	}
	return ptrace(PTRACE_GET_SYSCALL_INFO, task->tid, sizeof(task->call->info),
		      &task->call->info) < 0
		       ? -errno
		       : 0;
}

static void start_or_go_on(struct nj_task *task, struct __ptrace_syscall_info *before)
{
	struct nj_call *call = task->call;
	bool next = task->stage == NJ_NEXT_MESSAGE &&
		    before->instruction_pointer == call->info.instruction_pointer &&
		    before->seccomp.nr == call->info.seccomp.nr &&
		    !memcmp(before->seccomp.args, call->info.seccomp.args,
			    sizeof(before->seccomp.args));

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

// A seccomp stop: find the row, do what its shape says.
//
// Returns 1 if Python is to decide, else 0 or -errno.
int nj_call_stop(struct nj_jail *jail, struct nj_task *task)
{
	struct __ptrace_syscall_info before = task->call ? task->call->info
							 : (struct __ptrace_syscall_info){ 0 };
	int error = prepare(task);
	const struct __ptrace_syscall_info *info = &task->call->info;
	uint32_t action;

	if (error)
		return error;
	action = nj_evaluate(&jail->config, info->arch, (uint32_t)info->seccomp.nr,
			     info->instruction_pointer, nj_args_of(task));
	start_or_go_on(task, &before);
	// Not ours: a filter of the tracee stopped it, and nobody traces for it.
	if ((action & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_TRACE)
		return nj_refuse(jail, task, ENOSYS);
	task->call->row = (int32_t)(action & SECCOMP_RET_DATA);
	if ((uint32_t)task->call->row >= jail->config.row_count)
		return nj_refuse(jail, task, ENOSYS);
	task->call->shape = nj_row_of(jail, task)->shape;
	return SHAPES[task->call->shape](jail, task);
}
