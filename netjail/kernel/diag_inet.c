// Whose socket would receive what is sent to an IP address of this machine.
#include "diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>

// An address as 16 bytes, IPv4 as ::ffff:a.b.c.d whatever socket it came from.
struct address {
	uint8_t bytes[16];
};

static struct address widen(int family, const void *raw)
{
	struct address address = { .bytes = { [10] = 0xff, [11] = 0xff } };

	if (family == AF_INET)
		memcpy(address.bytes + 12, raw, 4);
	else
		memcpy(address.bytes, raw, 16);
	return address;
}

static bool equal(const struct address *one, const struct address *other)
{
	return memcmp(one, other, sizeof(*one)) == 0;
}

static bool is_v4(const struct address *address)
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)address->bytes);
}

// 0.0.0.0 or ::
static bool is_any(const struct address *address)
{
	static const uint8_t none[4];

	if (is_v4(address))
		return memcmp(address->bytes + 12, none, 4) == 0;
	return IN6_IS_ADDR_UNSPECIFIED((const struct in6_addr *)address->bytes);
}

struct inet_query {
	struct nj_owners *owners;
	struct address to;
	struct nj_tally *tally;
	int protocol;
	uint16_t port;   // network byte order
};

static bool v6only(const struct nlmsghdr *message)
{
	const struct inet_diag_msg *socket = NLMSG_DATA(message);
	const struct rtattr *attribute = (const void *)(socket + 1);
	int left = (int)(message->nlmsg_len - NLMSG_LENGTH(sizeof(*socket)));

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		if (attribute->rta_type == INET_DIAG_SKV6ONLY)
			return *(const uint8_t *)RTA_DATA(attribute) != 0;
	return false;  // before Linux 4.6, or no IPv6 socket: assume that it takes both
}

// Whether a socket bound to `bound` could receive what is sent to `to`. The
// device that it is bound to is not looked at: one too many only refuses.
static bool takes(const struct address *bound, const struct address *to,
		  const struct nlmsghdr *message)
{
	// The kernel reads 0.0.0.0 and :: as the sender's own address, loopback if
	// it has none: any of this machine's addresses.
	if (is_any(to) || equal(bound, to))
		return true;
	if (!is_any(bound))
		return false;
	if (is_v4(to))
		return is_v4(bound) || !v6only(message);
	return !is_v4(bound);
}

static int count_inet(void *context, const struct nlmsghdr *message)
{
	const struct inet_query *query = context;
	const struct inet_diag_msg *socket = NLMSG_DATA(message);
	struct address bound;

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*socket)))
		return -EBADMSG;
	bound = widen(socket->idiag_family, socket->id.idiag_src);
	if (socket->id.idiag_sport == query->port && takes(&bound, &query->to, message))
		nj_count(query->owners, query->tally, socket->id.idiag_cookie);
	return 0;
}

// Every TCP listener of both families; `port` 0: on any port.
//
// The older request, as the newer one takes one family and each dump walks the
// kernel's whole hash table: inet_diag_dump_compat() in net/ipv4/inet_diag.c.
int nj_dump_tcp(struct nj_owners *owners, uint16_t port, nj_each *each, void *context)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req body;
	} request = {
		.header = { .nlmsg_len = sizeof(request), .nlmsg_type = TCPDIAG_GETSOCK,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .idiag_states = NJ_STATE(NJ_LISTEN), .id.idiag_sport = port },
	};

	return nj_netlink_ask(&owners->diag, &request.header, each, context);
}

static int dump_udp(struct nj_owners *owners, uint8_t family, uint16_t port, nj_each *each,
		    void *context)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
	} request = {
		.header = { .nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .sdiag_family = family, .sdiag_protocol = IPPROTO_UDP,
			  .idiag_states = ~0u, .id.idiag_sport = port },
	};

	return nj_netlink_ask(&owners->diag, &request.header, each, context);
}

// Every bound UDP socket, connected ones as well: they take from their peer what
// an unconnected one on the same port would have had.
int nj_dump_udp(struct nj_owners *owners, uint16_t port, nj_each *each, void *context)
{
	int four = dump_udp(owners, AF_INET, port, each, context);
	int six;

	if (four < 0)
		return four;
	six = dump_udp(owners, AF_INET6, port, each, context);
	return six < 0 || six > four ? six : four;
}

static int dump_port(struct nj_owners *owners, void *context, struct nj_tally *ret)
{
	struct inet_query *query = context;

	query->tally = ret;
	if (query->protocol == IPPROTO_TCP)
		return nj_dump_tcp(owners, query->port, count_inet, query);
	return nj_dump_udp(owners, query->port, count_inet, query);
}

static int read_route(void *context, const struct nlmsghdr *message)
{
	const struct rtmsg *route = NLMSG_DATA(message);
	int *type = context;

	if (message->nlmsg_type != RTM_NEWROUTE)
		return -EBADMSG;
	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*route)))
		return -EBADMSG;
	*type = route->rtm_type;
	return 0;
}

struct route_request {
	struct nlmsghdr header;
	struct rtmsg body;
	uint8_t attributes[64];
};

static void append(struct route_request *request, uint16_t type, const void *data, uint16_t size)
{
	size_t end = request->header.nlmsg_len - NLMSG_LENGTH(sizeof(request->body));
	struct rtattr *attribute = (void *)(request->attributes + end);

	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(attribute), data, size);
	request->header.nlmsg_len += RTA_SPACE(size);
}

// The RTN_* type of the route that the kernel would take to `to`, or -errno.
//
// Not by trying bind(): net.ipv4.ip_nonlocal_bind would make every address ours.
// `device` is what the sender is tied to, by SO_BINDTODEVICE or a scope id: then
// 127.0.0.1 itself is sent out there and is not local, fib_table_lookup() in
// net/ipv4/fib_trie.c.
static int route_type(struct nj_owners *owners, const struct address *to, int device)
{
	bool v4 = is_v4(to);
	struct route_request request = {
		.header = { .nlmsg_len = NLMSG_LENGTH(sizeof(request.body)),
			    .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST },
		.body = { .rtm_family = v4 ? AF_INET : AF_INET6,
			  .rtm_dst_len = v4 ? 32 : 128 },
	};
	int type = RTN_UNSPEC, result;

	append(&request, RTA_DST, v4 ? to->bytes + 12 : to->bytes, v4 ? 4 : 16);
	if (device)
		append(&request, RTA_OIF, &device, sizeof(device));
	result = nj_netlink_ask(&owners->route, &request.header, read_route, &type);
	return result < 0 ? result : type;
}

static int whereabouts(struct nj_owners *owners, const struct address *to, int device)
{
	int type;

	if (is_any(to))
		return NJ_OWNER_JAIL;  // of this machine, whoever listens
	type = route_type(owners, to, device);
	switch (type) {
	case RTN_LOCAL:
		return NJ_OWNER_JAIL;
	// What unreachable, prohibit and blackhole routes or none at all give.
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -EACCES:
	case -EINVAL:
		return NJ_OWNER_REMOTE;
	default:
		return type < 0 ? NJ_OWNER_UNKNOWN : NJ_OWNER_REMOTE;
	}
}

// Whose socket would receive what is sent to `address` and `port` (host byte
// order) over IPPROTO_TCP, MPTCP's too, or IPPROTO_UDP: an enum nj_owner.
//
// `device` is the index of the device that the sender is tied to, 0: none. The
// sender must be in the network namespace that nj_owners_new() was called in.
int nj_owner_inet(struct nj_owners *owners, int protocol, int family, const uint8_t *address,
		  int port, int device)
{
	struct inet_query query = { .owners = owners, .to = widen(family, address),
				    .protocol = protocol, .port = htons((uint16_t)port) };
	int where = whereabouts(owners, &query.to, device);

	if (where != NJ_OWNER_JAIL)
		return where;
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return NJ_OWNER_UNKNOWN;
	// Nobody can be bound to port 0, and in a dump it means every port.
	if (port == 0)
		return NJ_OWNER_NOBODY;
	return nj_settle(owners, dump_port, &query);
}
