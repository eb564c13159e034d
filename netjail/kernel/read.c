// What a stopped call says, copied before it is judged.
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>

#include "core.h"

const struct nj_row *nj_row_of(const struct nj_jail *jail, const struct nj_task *task)
{
	return &jail->config.rows[task->call->row];
}

const uint64_t *nj_args_of(const struct nj_task *task)
{
	return (const uint64_t *)task->call->info.seccomp.args;
}

int nj_read_exactly(int32_t tid, uint64_t address, void *data, size_t size)
{
	return nj_read(tid, address, data, size) == (int64_t)size ? 0 : EFAULT;
}

// To the kernel 0.0.0.0 and :: are the address that the socket is bound to, else the
// loopback: ip_route_output_key_hash_rcu() in net/ipv4/route.c. Ours says the latter,
// so that what is judged is what runs, whatever another thread binds it to.
static void name_loopback(struct nj_call *call)
{
	static const uint8_t loopback[4] = { 127, 0, 0, 1 }, zeros[16], mapped[12] = {
		[10] = 0xff, 0xff };
	uint8_t *address = call->name + 4;
	uint16_t family;

	if (call->name_size < 8)
		return;
	memcpy(&family, call->name, sizeof(family));
	if (family == AF_INET6 && call->name_size >= 24) {
		address = call->name + 8;
		if (!memcmp(address, zeros, 16))
			address[15] = 1;
		if (memcmp(address, mapped, sizeof(mapped)))
			return;
		address += sizeof(mapped);
	} else if (family != AF_INET && (family != AF_UNSPEC || call->shape == NJ_CONNECT)) {
		return;
	}
	if (!memcmp(address, zeros, sizeof(loopback)))
		memcpy(address, loopback, sizeof(loopback));
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
	call->fault = nj_read_exactly(task->tid, address, call->name, (size_t)size);
	call->name_size = call->fault ? 0 : (uint32_t)size;
	if (call->shape != NJ_BIND)
		name_loopback(call);
}

// Control messages that send an allowed packet elsewhere: IP_RETOPTS of ip(7)
// and the routing headers of RFC 3542 and RFC 2292.
static const uint32_t REROUTING[][2] = {
	{ IPPROTO_IP, 7 /* IP_RETOPTS */ },
	{ IPPROTO_IPV6, 57 /* IPV6_RTHDR */ },
	{ IPPROTO_IPV6, 5 /* IPV6_2292RTHDR */ },
	{ 132 /* IPPROTO_SCTP */, 5 /* SCTP_DSTADDRV4 */ },
	{ 132 /* IPPROTO_SCTP */, 6 /* SCTP_DSTADDRV6 */ },
};

// Control messages that name the device that a packet leaves by, even one for this
// machine (ip(7)): level, type, least length, where the device is.
static const uint32_t STEERING[][4] = {
	{ IPPROTO_IP, 8 /* IP_PKTINFO */, 12, 0 },
	{ IPPROTO_IPV6, 50 /* IPV6_PKTINFO */, 20, 16 },
	{ IPPROTO_IPV6, 2 /* IPV6_2292PKTINFO */, 20, 16 },
};

static bool steers(const struct nj_control *part)
{
	uint32_t device = 0;

	for (size_t i = 0; i < sizeof(STEERING) / sizeof(*STEERING); i++)
		if (part->level == STEERING[i][0] && part->type == STEERING[i][1] &&
		    part->size >= STEERING[i][2])
			memcpy(&device, part->data + STEERING[i][3], sizeof(device));
	return device > NJ_LOOPBACK_DEVICE;
}

// Whether a name of bind(2) ties an IPv6 socket to a device: one whose scope is no more
// than a link, __ipv6_addr_needs_scope_id() in include/net/ipv6.h.
bool nj_names_device(const struct nj_call *call)
{
	const uint8_t *address = call->name + 8;
	uint32_t device;
	uint16_t family;

	if (call->name_size < 28)
		return false;
	memcpy(&family, call->name, sizeof(family));
	memcpy(&device, call->name + 24, sizeof(device));
	if (family != AF_INET6 || device <= NJ_LOOPBACK_DEVICE)
		return false;
	if (address[0] == 0xff)
		return (address[1] & 0xf) == 1 || (address[1] & 0xf) == 2;
	return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

static bool to_this_machine(const struct nj_call *call)
{
	static const uint8_t loopback[16] = { [15] = 1 };
	uint16_t family = 0;

	if (!call->named || call->name_size < 8)
		return true;
	memcpy(&family, call->name, sizeof(family));
	if (family == AF_UNSPEC && call->shape == NJ_CONNECT)
		return false;
	if (family != AF_INET6)
		return call->name[4] == 127 || call->name[4] == 0;
	return call->name_size < 24 || !memcmp(call->name + 8, loopback, 16) ||
	       !memcmp(call->name + 8, (const uint8_t[16]){ 0 }, 10);  // ::, v4-mapped
}

static int check_control(struct nj_call *call)
{
	struct nj_control part;
	size_t at = 0;
	int found;

	while ((found = nj_control_next(call->abi, call->control, call->message.msg_controllen,
					&at, &part)) > 0) {
		for (size_t i = 0; i < sizeof(REROUTING) / sizeof(*REROUTING); i++)
			if (part.level == REROUTING[i][0] && part.type == REROUTING[i][1])
				return EPERM;
		call->steered |= steers(&part);
	}
	return -found;
}

// It leaves by a device that the program chose. Whoever listens there, it may not be who
// hears; and what is for this machine would leave it.
void nj_steer(struct nj_call *call)
{
	call->steered = true;
	if (!call->fault && to_this_machine(call))
		call->fault = EPERM;
}

static int read_control(struct nj_task *task)
{
	struct nj_call *call = task->call;
	size_t size = call->message.msg_controllen;

	if (!size)
		return 0;
	if (size > NJ_CONTROL_MAX)
		return ENOBUFS;
	if (nj_read_exactly(task->tid, (uint64_t)call->message.msg_control, call->control, size))
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

	call->fault = nj_message_read(call->abi, task->tid, address, message);
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
	if (call->steered)
		nj_steer(call);
}

// Copy what the call names out of the tracee; the fault is what the kernel would give.
void nj_read_call(struct nj_jail *jail, struct nj_task *task)
{
	const struct nj_row *row = nj_row_of(jail, task);
	const uint64_t *args = nj_args_of(task);
	struct nj_call *call = task->call;

	call->named = false;
	call->held = false;
	call->led = false;
	call->steered = false;
	call->name_size = 0;
	call->fault = 0;
	switch (call->shape) {
	case NJ_BIND:
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
		read_message(task, nj_message_at(call->abi, args[row->name], call->index));
		break;
	}
}
