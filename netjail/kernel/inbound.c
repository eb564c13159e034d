// Listeners that hear this machine only.
//
// A filter of the socket drops what did not come through loopback: connections to any of
// this machine's own addresses do. Tied to lo by SO_BINDTODEVICE, a listener would be
// deaf to those but 127.0.0.1, whose packets count as their address's device's: see
// orig_oif in ip_route_output_key_hash_rcu(), net/ipv4/route.c.
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>

#include "core.h"

#define LOOPBACK 1  // lo, in every network namespace: LOOPBACK_IFINDEX in include/net/flow.h

static const struct sock_filter THIS_MACHINE[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_IFINDEX)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LOOPBACK, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

#define LENGTH (sizeof(THIS_MACHINE) / sizeof(THIS_MACHINE[0]))

static int ask(int fd, int option, int *ret)
{
	socklen_t size = sizeof(*ret);

	return getsockopt(fd, SOL_SOCKET, option, ret, &size) < 0 ? -errno : 0;
}

// Whether nothing but our filter is there, for good.
static bool is_ours(int fd)
{
	struct sock_filter found[LENGTH];
	socklen_t count = LENGTH;  // of instructions, not of bytes: sk_get_filter()
	int locked = 0;

	return !ask(fd, SO_LOCK_FILTER, &locked) && locked &&
	       getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, found, &count) == 0 && count == LENGTH &&
	       !memcmp(found, THIS_MACHINE, sizeof(found));
}

// Fails where another one is locked in.
static int attach(int fd)
{
	struct sock_fprog program = { LENGTH, (struct sock_filter *)THIS_MACHINE };
	int yes = 1;

	if (is_ours(fd))
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &yes, sizeof(yes)) < 0)
		return -errno;
	// Another thread of the program may have come between the two.
	return is_ours(fd) ? 0 : -EPERM;
}

static int tie_to_lo(int fd)
{
	char device[16] = "";
	socklen_t size = sizeof(device);

	// Unprivileged since Linux 5.7, once: see SO_BINDTODEVICE in socket(7).
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size) == 0 &&
	    !strcmp(device, "lo"))
		return 0;
	return -EPERM;
}

// Have the socket `fd` hear nobody but this machine once it listens.
int nj_close_to_others(int fd)
{
	int protocol = 0;

	// A filter of an MPTCP socket is none of the TCP socket's under it that listens.
	if (!ask(fd, SO_PROTOCOL, &protocol) && protocol != IPPROTO_MPTCP && !attach(fd))
		return 0;
	return tie_to_lo(fd);
}
