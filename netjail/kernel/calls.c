// A network call from its seccomp stop to its end: read, judge, pin, restore.
#include <errno.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

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

static const struct nj_row *row_of(const struct nj_jail *jail, const struct nj_task *task)
{
	return &jail->config.rows[task->call->row];
}

static const uint64_t *args_of(const struct nj_task *task)
{
	return (const uint64_t *)task->call->info.seccomp.args;
}

void nj_remember_again(struct nj_task *task)
{
	const struct __ptrace_syscall_info *info = &task->call->info;

	task->again = true;
	task->again_ip = info->instruction_pointer;
	task->again_number = info->seccomp.nr;
	memcpy(task->again_args, info->seccomp.args, sizeof(task->again_args));
}

static bool is_again(const struct nj_task *task)
{
	const struct __ptrace_syscall_info *info = &task->call->info;

	return task->again && task->again_ip == info->instruction_pointer &&
	       task->again_number == info->seccomp.nr &&
	       !memcmp(task->again_args, info->seccomp.args, sizeof(task->again_args));
}

// ---- reading ----

static int read_exactly(int32_t tid, uint64_t address, void *data, size_t size)
{
	return nj_read(tid, address, data, size) == (int64_t)size ? 0 : EFAULT;
}

// The name of connect and sendto: a length over 128 or negative is EINVAL, see
// move_addr_to_kernel() in net/socket.c. The length is an int: its upper half
// in the register does not count.
static void read_name(struct nj_task *task, uint64_t address, int32_t size)
{
	struct nj_call *call = task->call;

	call->named = true;
	if (size < 0 || size > NJ_NAME_MAX) {
		call->fault = EINVAL;
		return;
	}
	call->fault = read_exactly(task->tid, address, call->name, (size_t)size);
	call->name_size = call->fault ? 0 : (uint32_t)size;
}

// Control messages that send an allowed packet elsewhere: IP_RETOPTS of ip(7)
// and the routing headers of RFC 3542 and RFC 2292.
static const int REROUTING[][2] = {
	{ IPPROTO_IP, 7 /* IP_RETOPTS */ },
	{ IPPROTO_IPV6, 57 /* IPV6_RTHDR */ },
	{ IPPROTO_IPV6, 5 /* IPV6_2292RTHDR */ },
	{ 132 /* IPPROTO_SCTP */, 5 /* SCTP_DSTADDRV4 */ },
	{ 132 /* IPPROTO_SCTP */, 6 /* SCTP_DSTADDRV6 */ },
};

// IP_PKTINFO and IPV6_PKTINFO can name the device that a packet leaves by, even
// one for this machine (ip(7)). 1 is lo, net/core/dev.c gives it so everywhere.
static bool steers(const struct cmsghdr *part)
{
	int32_t device = 0;

	if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == 8 /* IP_PKTINFO */ &&
	    part->cmsg_len >= CMSG_LEN(12))
		memcpy(&device, CMSG_DATA(part), sizeof(device));
	if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == 50 /* IPV6_PKTINFO */ &&
	    part->cmsg_len >= CMSG_LEN(20))
		memcpy(&device, CMSG_DATA(part) + 16, sizeof(device));
	return device > 1 || device < 0;
}

static bool to_this_machine(const struct nj_call *call)
{
	static const uint8_t loopback[16] = { [15] = 1 };
	uint16_t family = 0;

	if (!call->named || call->name_size < 8)
		return true;
	memcpy(&family, call->name, sizeof(family));
	if (family != AF_INET6)
		return call->name[4] == 127 || call->name[4] == 0;
	return call->name_size < 24 || !memcmp(call->name + 8, loopback, 16) ||
	       !memcmp(call->name + 8, (const uint8_t[16]){ 0 }, 10);  // ::, v4-mapped
}

static int check_control(struct nj_call *call)
{
	struct msghdr message = { .msg_control = (void *)call->control,
				  .msg_controllen = call->message.msg_controllen };

	for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part;
	     part = CMSG_NXTHDR(&message, part)) {
		if (part->cmsg_len < sizeof(*part))
			return EINVAL;
		for (size_t i = 0; i < sizeof(REROUTING) / sizeof(*REROUTING); i++)
			if (part->cmsg_level == REROUTING[i][0] &&
			    part->cmsg_type == REROUTING[i][1])
				return EPERM;
		call->steered |= steers(part);
	}
	return call->steered && to_this_machine(call) ? EPERM : 0;
}

static int read_control(struct nj_task *task)
{
	struct nj_call *call = task->call;
	size_t size = call->message.msg_controllen;

	if (!call->message.msg_control || !size) {
		call->message.msg_controllen = 0;
		return 0;
	}
	if (size > NJ_CONTROL_MAX)
		return ENOBUFS;
	if (read_exactly(task->tid, (uint64_t)call->message.msg_control, call->control, size))
		return EFAULT;
	return check_control(call);
}

// A msghdr as copy_msghdr_from_user() and ____sys_sendmsg() of net/socket.c
// read it: no name or no length is nameless, a longer name is clamped.
static void read_message(struct nj_task *task, uint64_t address)
{
	struct nj_call *call = task->call;
	struct msghdr *message = &call->message;
	int32_t size;

	call->fault = read_exactly(task->tid, address, message, sizeof(*message));
	if (call->fault)
		return;
	size = (int32_t)message->msg_namelen;
	if (message->msg_name && size < 0) {
		call->fault = EINVAL;
		return;
	}
	if (message->msg_name && size)
		read_name(task, (uint64_t)message->msg_name,
			  size > NJ_NAME_MAX ? NJ_NAME_MAX : size);
	if (!call->fault)
		call->fault = read_control(task);
}

static void read_call(struct nj_jail *jail, struct nj_task *task)
{
	const struct nj_row *row = row_of(jail, task);
	const uint64_t *args = args_of(task);
	struct nj_call *call = task->call;

	call->named = false;
	call->held = false;
	call->steered = false;
	call->name_size = 0;
	call->fault = 0;
	switch (call->shape) {
	case NJ_CONNECT:
		read_name(task, args[row->name], (int32_t)args[row->length]);
		break;
	case NJ_SENDTO:
		if ((int32_t)args[row->length])
			read_name(task, args[row->name], (int32_t)args[row->length]);
		break;
	case NJ_SENDMSG:
		read_message(task, args[row->name]);
		break;
	case NJ_SENDMMSG:
		read_message(task, args[row->name] + call->index * sizeof(struct mmsghdr));
		break;
	}
}

// ---- judging ----

static void own_socket(struct nj_jail *jail, const struct nj_descriptor *descriptor)
{
	if (!descriptor->error && descriptor->cookie)
		(void)nj_owners_add(jail->config.owners, descriptor->cookie);
}

static int ask_python(struct nj_jail *jail, struct nj_task *task)
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
		.again = is_again(task),
		.named = call->named,
		.name_size = call->name_size,
		.descriptor = call->descriptor,
	};
	memcpy(stop->args, args_of(task), sizeof(stop->args));
	memcpy(stop->name, call->name, call->name_size);
	task->stage = NJ_PARKED;
	return 1;
}

static int judge(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_call *call = task->call;
	const struct nj_row *row = row_of(jail, task);
	struct nj_cached *known;

	read_call(jail, task);
	// It names nobody: what it goes to was judged when it was connected.
	if (!call->named && !call->fault)
		return nj_pin(jail, task);
	nj_describe(jail, task, (uint32_t)args_of(task)[row->descriptor], &call->descriptor, NULL);
	if (call->descriptor.type == SOCK_DGRAM)
		own_socket(jail, &call->descriptor);
	if (call->steered)
		call->descriptor.netns = 0;  // whoever listens here, it may not be who hears
	known = nj_cache_find(jail, task);
	if (!known)
		return ask_python(jail, task);
	if (!is_again(task))
		known->count++;
	return known->error ? nj_refuse(jail, task, known->error) : nj_pin(jail, task);
}

// Finish a sendmmsg that is not to go on, or any other call, without running it.
static int finish(struct nj_task *task, int64_t result)
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
	return finish(task, -error);
}

// ---- pinning ----

static int change(struct nj_task *task, int argument, uint64_t value)
{
	task->call->changed |= 1U << argument;
	return nj_poke(task->tid, nj_argument[argument], value);
}

static void fill_message(const struct nj_call *call, uint8_t *slot, uint64_t address)
{
	struct msghdr message = call->message;

	message.msg_name = call->named ? (void *)(address + NJ_SLOT_NAME) : NULL;
	message.msg_namelen = call->name_size;
	if (message.msg_controllen)
		message.msg_control = (void *)(address + NJ_SLOT_CONTROL);
	memcpy(slot + NJ_SLOT_NAME, call->name, call->name_size);
	memcpy(slot + NJ_SLOT_CONTROL, call->control, message.msg_controllen);
	memcpy(slot, &message, sizeof(message));
}

static int point_to(struct nj_jail *jail, struct nj_task *task, uint8_t *slot, uint64_t address)
{
	const struct nj_row *row = row_of(jail, task);
	struct nj_call *call = task->call;
	int error;

	call->changed = 0;
	if (call->shape == NJ_SENDMSG || call->shape == NJ_SENDMMSG) {
		fill_message(call, slot, address);
		error = change(task, row->name, address);
		if (error || call->shape == NJ_SENDMSG)
			return error;
		// One sendmsg a message: sendmmsg would write its lengths into the vault.
		error = change(task, 2, args_of(task)[row->flags]);
		return error ? error
			     : nj_poke(task->tid, offsetof(struct user_regs_struct, orig_rax),
				       SYS_sendmsg);
	}
	memcpy(slot, call->name, call->name_size);
	error = change(task, row->name, address);
	return error ? error : change(task, row->length, call->name_size);
}

static int pin_verified(struct nj_jail *jail, struct nj_task *task)
{
	uint64_t address;
	uint8_t *slot;
	int error = nj_slot_take(jail, task, &slot, &address);

	if (error)
		return nj_refuse(jail, task, -error);
	task->again = false;
	task->tries = 0;
	error = point_to(jail, task, slot, address);
	if (error)
		return error;
	task->stage = NJ_IN_CALL;
	return nj_resume(task->tid, PTRACE_SYSCALL, 0);
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
			return error == -EAGAIN ? nj_refuse(jail, task, ENOBUFS) : error;
		}
		task->process->vault = !error;
	}
	return error ? nj_refuse(jail, task, ENOBUFS) : pin_verified(jail, task);
}

// ---- the end of a pinned call ----

static int restore(struct nj_task *task)
{
	int error = 0;

	for (int i = 0; i < 6 && !error; i++)
		if (task->call->changed & 1U << i)
			error = nj_poke(task->tid, nj_argument[i], args_of(task)[i]);
	if (!error && task->call->shape == NJ_SENDMMSG)
		error = nj_poke(task->tid, offsetof(struct user_regs_struct, orig_rax),
				task->call->info.seccomp.nr);
	return error;
}

static int go_on(struct nj_task *task)
{
	task->stage = NJ_RUNNING;
	return nj_resume(task->tid, PTRACE_CONT, 0);
}

static int set_result(struct nj_task *task, int64_t result)
{
	return nj_poke(task->tid, offsetof(struct user_regs_struct, rax), (uint64_t)result);
}

static size_t wanted(const struct nj_task *task)
{
	const struct msghdr *message = &task->call->message;
	struct iovec vector[64];
	size_t total = 0, left = message->msg_iovlen;

	for (uint64_t at = (uint64_t)message->msg_iov; left;) {
		size_t part = left < 64 ? left : 64;

		if (read_exactly(task->tid, at, vector, part * sizeof(*vector)))
			break;
		for (size_t i = 0; i < part; i++)
			total += vector[i].iov_len;
		left -= part;
		at += part * sizeof(*vector);
	}
	return total;
}

static int next_message(struct nj_task *task)
{
	struct user_regs_struct regs;
	int error = nj_get_registers(task->tid, &regs);

	if (error)
		return error;
	regs.rip -= 2;
	regs.rax = task->call->info.seccomp.nr;
	regs.orig_rax = (uint64_t)-1;
	error = nj_set_registers(task->tid, &regs);
	task->call->index++;
	task->stage = NJ_NEXT_MESSAGE;
	return error ? error : nj_resume(task->tid, PTRACE_CONT, 0);
}

static uint32_t messages_of(const struct nj_jail *jail, const struct nj_task *task)
{
	uint32_t count = (uint32_t)args_of(task)[row_of(jail, task)->length];

	return count < NJ_MESSAGES_MAX ? count : NJ_MESSAGES_MAX;
}

// __sys_sendmmsg() of net/socket.c: the length sent goes into the vector, a
// short send or an error ends it, and after one success the count is returned.
static int message_sent(struct nj_jail *jail, struct nj_task *task, int64_t result)
{
	struct nj_call *call = task->call;
	uint64_t entry = args_of(task)[row_of(jail, task)->name] +
			 call->index * sizeof(struct mmsghdr);
	uint32_t length = (uint32_t)result;
	int error = 0;

	if (result >= 0 && nj_write(task->tid, entry + offsetof(struct mmsghdr, msg_len), &length,
				    sizeof(length)) != sizeof(length))
		result = -EFAULT;
	if (result >= 0) {
		call->sent++;
		if (call->index + 1 < messages_of(jail, task) && length >= wanted(task))
			return next_message(task);
	} else if (will_restart(result) && !call->sent) {
		nj_remember_again(task);
		return go_on(task);
	}
	error = set_result(task, call->sent ? call->sent : result);
	return error ? error : go_on(task);
}

// The exit stop of a pinned call.
//
// Returns 1 if Python asked for the result.
int nj_call_exit(struct nj_jail *jail, struct nj_task *task)
{
	int64_t result = nj_result(task->tid);
	uint64_t token = task->token;
	int error = restore(task);

	nj_slot_free(jail, task);
	if (error)
		return error;
	task->token = 0;
	if (token)
		*jail->stop = (struct nj_stop){ .kind = NJ_RESULT, .tid = task->tid, .token = token,
						.result = will_restart(result) ? -EINTR : result };
	if (task->call->shape == NJ_SENDMMSG) {
		error = message_sent(jail, task, result);
	} else {
		if (will_restart(result)) {
			nj_remember_again(task);
			task->token = token;
		}
		error = go_on(task);
	}
	return error ? error : token != 0;
}

// A signal comes between two messages of a sendmmsg: it returns what it sent.
int nj_call_cut_short(struct nj_jail *jail, struct nj_task *task)
{
	struct user_regs_struct regs;
	int error = nj_get_registers(task->tid, &regs);

	(void)jail;
	task->stage = NJ_RUNNING;
	if (error || regs.rip != task->call->info.instruction_pointer - 2)
		return error;
	regs.rip += 2;
	regs.rax = task->call->sent;
	return nj_set_registers(task->tid, &regs);
}

// ---- the other rows ----

static int pass(struct nj_task *task)
{
	task->again = false;
	return go_on(task);
}

// Let it run with one argument changed, which its exit stop puts back.
static int pass_with(struct nj_task *task, int argument, uint64_t value)
{
	int error;

	task->call->changed = 0;
	error = change(task, argument, value);
	if (error)
		return error;
	task->again = false;
	task->stage = NJ_IN_CALL;
	return nj_resume(task->tid, PTRACE_SYSCALL, 0);
}

static int on_network(struct nj_jail *jail, struct nj_task *task)
{
	return judge(jail, task);
}

static int on_messages(struct nj_jail *jail, struct nj_task *task)
{
	if (!messages_of(jail, task))
		return pass(task);
	return judge(jail, task);
}

// The name of a listener is its own, read from our duplicate, which is also
// what listens later: no other thread can put another socket in its place.
static int on_listen(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_call *call = task->call;
	socklen_t size = sizeof(call->name);

	if (call->duplicate >= 0)
		return ask_python(jail, task);
	nj_describe(jail, task, (uint32_t)args_of(task)[0], &call->descriptor, &call->duplicate);
	call->fault = 0;
	call->name_size = 0;
	call->named = true;
	if (call->duplicate >= 0 &&
	    getsockname(call->duplicate, (struct sockaddr *)call->name, &size) == 0)
		call->name_size = size;
	own_socket(jail, &call->descriptor);
	return ask_python(jail, task);
}

static int on_bind(struct nj_jail *jail, struct nj_task *task)
{
	struct nj_call *call = task->call;

	nj_describe(jail, task, (uint32_t)args_of(task)[0], &call->descriptor, NULL);
	own_socket(jail, &call->descriptor);
	return pass(task);
}

static int on_registers(struct nj_jail *jail, struct nj_task *task)
{
	task->call->fault = 0;
	task->call->named = false;
	task->call->name_size = 0;
	task->call->descriptor = (struct nj_descriptor){ .error = ENOTSOCK };
	return ask_python(jail, task);
}

// mmap and shmat near the vault. Fixed: refused if it would touch it; else the
// hint is dropped, as the kernel may do with any hint.
static int on_map(struct nj_jail *jail, struct nj_task *task)
{
	const uint64_t *args = args_of(task);
	bool attach = task->call->info.seccomp.nr == SYS_shmat;
	int address = attach ? 1 : 0;
	uint64_t size = attach ? NJ_VAULT_SIZE : args[1];
	bool fixed = attach ? args[2] & 040000 /* SHM_REMAP */ : args[3] & 0x10 /* MAP_FIXED */;
	bool keep = !attach && args[3] & 0x100000;  // MAP_FIXED_NOREPLACE
	uint64_t end = args[address] + size;

	if (end >= args[address] && end <= NJ_VAULT_BASE)
		return pass(task);
	if (fixed || keep)
		return nj_refuse(jail, task, fixed ? EPERM : EEXIST);
	return pass_with(task, address, 0);
}

#define CLONE_UNTRACED_FLAG 0x00800000
#define CLONE_FILES_FLAG 0x400
#define CLONE_THREAD_FLAG 0x10000

// The flags are in a register, so that nobody can change them behind us.
static int on_clone(struct nj_jail *jail, struct nj_task *task)
{
	uint64_t flags = args_of(task)[0];

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
	uint32_t option = (uint32_t)args_of(task)[0];

	(void)jail;
	if (option == 3 /* PR_GET_DUMPABLE */)
		return process->undumpable ? finish(task, 0) : pass(task);
	if (args_of(task)[1] > 1)
		return pass(task);  // EINVAL
	process->undumpable = !args_of(task)[1];
	return process->undumpable ? finish(task, 0) : pass(task);
}

static int on_prlimit(struct nj_jail *jail, struct nj_task *task)
{
	if (nj_task_find(jail, (int32_t)args_of(task)[0]))
		return pass(task);
	return nj_refuse(jail, task, EPERM);
}

// The tracee is about to install a filter of its own, which may forbid what an
// injection needs: the vault comes first.
static int on_filter(struct nj_jail *jail, struct nj_task *task)
{
	if (!task->process->vault && !task->tries && nj_vault_verify(jail, task->tid) == -ENOENT) {
		nj_remember_again(task);
		return nj_inject(jail, task);
	}
	task->tries = 0;
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
	if (!next && !is_again(task)) {
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
			     info->instruction_pointer, args_of(task));
	start_or_go_on(task, &before);
	// Not ours: a filter of the tracee stopped it, and nobody traces for it.
	if ((action & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_TRACE)
		return nj_refuse(jail, task, ENOSYS);
	task->call->row = (int32_t)(action & SECCOMP_RET_DATA);
	if ((uint32_t)task->call->row >= jail->config.row_count)
		return nj_refuse(jail, task, ENOSYS);
	task->call->shape = row_of(jail, task)->shape;
	return SHAPES[task->call->shape](jail, task);
}
