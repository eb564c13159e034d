// Sources put back: what came from the stub is shown as from whom the program meant.
//
// Resolvers compare where an answer comes from with whom they asked. A process whose
// call was led to the stub therefore gets one more filter, which stops it where the
// kernel tells an address; at such a call's exit the stub's is replaced. Others never
// have that filter. Nothing rests on it: a program can only deceive itself.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>

#include "core.h"

#define FIELD(name) ((uint32_t)offsetof(struct seccomp_data, name))
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define IF(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped)
#define UNLESS(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, skipped, 0)
#define TRACE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

// The numbers of i386, arch/x86/entry/syscalls/syscall_32.tbl; socketcall(2) has the
// receiving calls by its own.
enum { I386_SOCKETCALL = 102, I386_RECVMMSG = 337, I386_GETPEERNAME = 368, I386_RECVFROM = 371,
       I386_RECVMSG = 372, I386_RECVMMSG_TIME64 = 417 };
enum { CALL_GETPEERNAME = 7, CALL_RECVFROM = 12, CALL_RECVMSG = 17, CALL_RECVMMSG = 19 };

static const struct sock_filter FILTER[] = {
	LOAD(FIELD(arch)),
	UNLESS(AUDIT_ARCH_I386, 10),
	LOAD(FIELD(nr)),
	UNLESS(SYS_recvmsg, 21),
	UNLESS(SYS_recvmmsg, 20),
	UNLESS(SYS_getpeername, 19),
	IF(SYS_recvfrom, 4),
	// recv(3) asks for no address; a pointer has two halves.
	LOAD(FIELD(args[4])),
	IF(0, 16),
	LOAD(FIELD(args[4]) + 4),
	IF(0, 14),
	ALLOW,
	LOAD(FIELD(nr)),
	UNLESS(I386_RECVMSG, 11),
	UNLESS(I386_RECVMMSG, 10),
	UNLESS(I386_RECVMMSG_TIME64, 9),
	UNLESS(I386_GETPEERNAME, 8),
	UNLESS(I386_RECVFROM, 7),
	IF(I386_SOCKETCALL, 5),
	LOAD(FIELD(args[0])),
	UNLESS(CALL_RECVFROM, 4),
	UNLESS(CALL_RECVMSG, 3),
	UNLESS(CALL_RECVMMSG, 2),
	UNLESS(CALL_GETPEERNAME, 1),
	ALLOW,
	TRACE,
};

// What seccomp(2) is given: the filter and what points to it, both in the vault. A
// 32-bit struct sock_fprog has its pointer at the fourth byte, ours at the eighth.
struct laid_out {
	uint16_t count;
	uint64_t pointer;
	uint16_t count32;
	uint32_t pointer_of32;
	struct sock_filter filter[sizeof(FILTER) / sizeof(*FILTER)];
};

void nj_sources_lay_out(struct nj_jail *jail)
{
	struct laid_out *out = (void *)jail->vault;
	uint64_t filter = NJ_VAULT_BASE + offsetof(struct laid_out, filter);

	_Static_assert(sizeof(struct laid_out) <= NJ_SLOT_SIZE, "one slot");
	_Static_assert(offsetof(struct laid_out, pointer) == 8, "as struct sock_fprog");
	memcpy(out->filter, FILTER, sizeof(FILTER));
	out->count = out->count32 = sizeof(FILTER) / sizeof(*FILTER);
	out->pointer = filter;
	out->pointer_of32 = (uint32_t)filter;
}

// Where the program's struct sock_fprog is, for a caller with words of so many bytes.
uint64_t nj_sources_program(uint32_t word)
{
	return NJ_VAULT_BASE + (word == 8 ? 0 : offsetof(struct laid_out, count32));
}

// Show what comes from the stub at `port` as coming from `means`.
int nj_source_add(struct nj_jail *jail, const struct nj_source *source)
{
	for (uint32_t i = 0; i < jail->source_count; i++)
		if (!memcmp(&jail->sources[i], source, sizeof(*source)))
			return 0;
	if (jail->source_count == NJ_SOURCES)
		return -ENOSPC;
	jail->sources[jail->source_count++] = *source;
	return 0;
}

static bool is_stub(const struct nj_source *source, const uint8_t address[16], uint16_t port)
{
	static const uint8_t here4[16] = { [10] = 0xff, 0xff, 127, 0, 0, 1 }, here6[16] = { [15] = 1 };

	return source->port == port &&
	       !memcmp(address, source->mapped ? here4 : here6, sizeof(here4));
}

static const struct nj_source *find(const struct nj_jail *jail, const uint8_t address[16],
				    uint16_t port)
{
	for (uint32_t i = 0; i < jail->source_count; i++)
		if (is_stub(&jail->sources[i], address, port))
			return &jail->sources[i];
	return NULL;
}

static void put_back4(struct nj_jail *jail, int32_t tid, uint64_t at, struct sockaddr_in *name)
{
	uint8_t address[16] = { [10] = 0xff, 0xff };
	const struct nj_source *source;

	memcpy(address + 12, &name->sin_addr, 4);
	source = find(jail, address, ntohs(name->sin_port));
	if (!source)
		return;
	memcpy(&name->sin_addr, source->means + 12, 4);
	name->sin_port = htons(source->means_port);
	(void)nj_write(tid, at, name, offsetof(struct sockaddr_in, sin_zero));
}

static void put_back6(struct nj_jail *jail, int32_t tid, uint64_t at, struct sockaddr_in6 *name)
{
	const struct nj_source *source =
		find(jail, name->sin6_addr.s6_addr, ntohs(name->sin6_port));

	if (!source)
		return;
	memcpy(&name->sin6_addr, source->means, sizeof(source->means));
	name->sin6_port = htons(source->means_port);
	name->sin6_scope_id = source->scope;
	(void)nj_write(tid, at, name, sizeof(*name));
}

// `at` has what the kernel wrote: read no further than a whole address goes.
static void put_back(struct nj_jail *jail, int32_t tid, uint64_t at, uint32_t size)
{
	struct sockaddr_in6 name = { 0 };
	struct sockaddr_in name4;

	if (!at || size < sizeof(name4) || size > sizeof(name) ||
	    nj_read(tid, at, &name, size) != (int64_t)size)
		return;
	memcpy(&name4, &name, sizeof(name4));
	if (name.sin6_family == AF_INET)
		put_back4(jail, tid, at, &name4);
	else if (name.sin6_family == AF_INET6 && size == sizeof(name))
		put_back6(jail, tid, at, &name);
}

static void with_length(struct nj_jail *jail, int32_t tid, uint64_t at, uint64_t length_at)
{
	uint32_t size;

	if (nj_read(tid, length_at, &size, sizeof(size)) == sizeof(size))
		put_back(jail, tid, at, size);
}

// The first two members of a struct msghdr: msg_name, msg_namelen.
static void with_message(struct nj_jail *jail, int32_t tid, uint32_t word, uint64_t at)
{
	uint8_t raw[16] = { 0 };
	uint64_t name = 0;
	uint32_t size;

	if (nj_read(tid, at, raw, 2 * word) != (int64_t)(2 * word))
		return;
	memcpy(&name, raw, word);
	memcpy(&size, raw + word, sizeof(size));
	put_back(jail, tid, name, size);
}

enum receiving { NONE, FROM, MESSAGE, MESSAGES, PEER };

static enum receiving kind_of(const struct __ptrace_syscall_info *info)
{
	uint64_t number = info->seccomp.nr;

	if (info->arch != AUDIT_ARCH_I386)
		return number == SYS_recvfrom	   ? FROM
		       : number == SYS_recvmsg	   ? MESSAGE
		       : number == SYS_recvmmsg	   ? MESSAGES
		       : number == SYS_getpeername ? PEER
						   : NONE;
	if (number == I386_SOCKETCALL)
		number = (uint32_t)info->seccomp.args[0];
	return number == I386_RECVFROM || number == CALL_RECVFROM	    ? FROM
	       : number == I386_RECVMSG || number == CALL_RECVMSG	    ? MESSAGE
	       : number == I386_RECVMMSG || number == I386_RECVMMSG_TIME64 ||
			       number == CALL_RECVMMSG			    ? MESSAGES
	       : number == I386_GETPEERNAME || number == CALL_GETPEERNAME   ? PEER
									    : NONE;
}

// Whether a stop that our own filter did not ask for is one of these.
bool nj_receives(const struct nj_task *task)
{
	return task->process->sources == NJ_SOURCES_SHOWN && kind_of(&task->call->info) != NONE;
}

int nj_receive(struct nj_task *task)
{
	task->again = false;
	task->stage = NJ_RECEIVING;
	return nj_resume(task->tid, PTRACE_SYSCALL, 0);
}

static void arguments(struct nj_task *task, uint64_t ret[6])
{
	const struct __ptrace_syscall_info *info = &task->call->info;
	uint32_t words[6] = { 0 };

	memcpy(ret, info->seccomp.args, 6 * sizeof(*ret));
	if (info->arch != AUDIT_ARCH_I386)
		return;
	for (int i = 0; i < 6; i++)
		words[i] = (uint32_t)ret[i];
	if (info->seccomp.nr == I386_SOCKETCALL)
		(void)nj_read(task->tid, words[1], words, sizeof(words));
	for (int i = 0; i < 6; i++)
		ret[i] = words[i];
}

// The exit of such a call.
int nj_received(struct nj_jail *jail, struct nj_task *task)
{
	const struct __ptrace_syscall_info *info = &task->call->info;
	uint32_t word = info->arch == AUDIT_ARCH_I386 ? 4 : 8;
	int64_t result = nj_result(task->tid);
	uint64_t args[6];

	arguments(task, args);
	switch (result < 0 ? NONE : kind_of(info)) {
	case FROM:
		with_length(jail, task->tid, args[4], args[5]);
		break;
	case PEER:
		with_length(jail, task->tid, args[1], args[2]);
		break;
	case MESSAGE:
		with_message(jail, task->tid, word, args[1]);
		break;
	case MESSAGES:
		for (int64_t i = 0; i < result && i < NJ_MESSAGES_MAX; i++)
			with_message(jail, task->tid, word, args[1] + (uint64_t)i * 8 * word);
		break;
	case NONE:
		break;
	}
	return nj_go_on(task);
}
