// Every way to name an address in a call.
#include <netinet/tcp.h>

#include "doors.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define DIRT 0x5a5a5a5a00000000UL

static int tcp_connect(const struct nj_scene *scene)
{
	return nj_connect_to(scene->tcp);
}

static int udp_sendto(const struct nj_scene *scene)
{
	return nj_send_to(scene->udp);
}

static int udp_connect(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->udp);

	return nj_connect(SOCK_DGRAM, 0, &to, sizeof(to));
}

static struct mmsghdr message(struct iovec *data, void *address, socklen_t length)
{
	*data = (struct iovec){ NJ_TOKEN, NJ_TOKEN_SIZE };
	return (struct mmsghdr){ .msg_hdr = { .msg_name = address, .msg_namelen = length,
					      .msg_iov = data, .msg_iovlen = 1 } };
}

static int udp_sendmsg(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->udp);
	struct iovec data;
	struct mmsghdr one = message(&data, &to, sizeof(to));

	return nj_error(sendmsg(nj_udp(), &one.msg_hdr, 0));
}

// The first message is allowed.
static int udp_sendmmsg(const struct nj_scene *scene)
{
	struct sockaddr_in first = nj_inet(scene->allowed_udp), second = nj_inet(scene->udp);
	struct iovec data;
	struct mmsghdr both[] = { message(&data, &first, sizeof(first)),
				  message(&data, &second, sizeof(second)) };
	int sent = sendmmsg(nj_udp(), both, 2, 0);

	return sent == 1 ? ECONNREFUSED : nj_error(sent);
}

// On a socket whose peer is allowed.
static int connected_sendmsg(const struct nj_scene *scene)
{
	struct sockaddr_in peer = nj_inet(scene->allowed_udp), to = nj_inet(scene->udp);
	struct iovec data;
	struct mmsghdr one = message(&data, &to, sizeof(to));
	int fd = nj_udp();

	if (connect(fd, (void *)&peer, sizeof(peer)))
		return errno;
	return nj_error(sendmsg(fd, &one.msg_hdr, 0));
}

static int tcp6_connect(const struct nj_scene *scene)
{
	struct sockaddr_in6 to = nj_inet6(scene->tcp6);

	return nj_connect(SOCK_STREAM, 0, &to, sizeof(to));
}

static int udp6_sendto(const struct nj_scene *scene)
{
	struct sockaddr_in6 to = nj_inet6(scene->udp6);

	return nj_send(socket(AF_INET6, SOCK_DGRAM, 0), &to, sizeof(to), 0);
}

static struct sockaddr_in6 mapped(uint16_t port)
{
	struct sockaddr_in6 to = nj_inet6(port);

	inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr);
	return to;
}

static int mapped_connect(const struct nj_scene *scene)
{
	struct sockaddr_in6 to = mapped(scene->tcp);

	return nj_connect(SOCK_STREAM, 0, &to, sizeof(to));
}

static int mapped_sendto(const struct nj_scene *scene)
{
	struct sockaddr_in6 to = mapped(scene->udp);

	return nj_send(socket(AF_INET6, SOCK_DGRAM, 0), &to, sizeof(to), 0);
}

// An IPv4 address on an IPv6 socket goes out as IPv4.
static int inet_on_inet6(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->udp);

	return nj_send(socket(AF_INET6, SOCK_DGRAM, 0), &to, sizeof(to), 0);
}

// An IPv4 UDP socket reads AF_UNSPEC as AF_INET: net/ipv4/udp.c, udp_sendmsg().
static int unspec_sendto(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->udp);

	to.sin_family = AF_UNSPEC;
	return nj_send(nj_udp(), &to, sizeof(to), 0);
}

static int no_address(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->tcp);

	to.sin_addr.s_addr = INADDR_ANY;
	return nj_connect(SOCK_STREAM, 0, &to, sizeof(to));
}

static int no_address6(const struct nj_scene *scene)
{
	struct sockaddr_in6 to = nj_inet6(scene->tcp6);

	to.sin6_addr = in6addr_any;
	return nj_connect(SOCK_STREAM, 0, &to, sizeof(to));
}

static int long_address(const struct nj_scene *scene)
{
	struct {
		struct sockaddr_in to;
		char rubbish[112];
	} all = { .to = nj_inet(scene->tcp) };

	memset(all.rubbish, 0xa5, sizeof(all.rubbish));
	return nj_connect(SOCK_STREAM, 0, &all, sizeof(all));
}

// The kernel reads descriptor and length from lower halves only.
static int dirty_registers(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->tcp);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (syscall(SYS_connect, DIRT | (unsigned int)fd, &to, DIRT | sizeof(to)) < 0)
		return errno;
	return nj_tell(fd);
}

// Away from an allowed peer by AF_UNSPEC, which lifts nothing.
static int reconnect(const struct nj_scene *scene)
{
	struct sockaddr_in peer = nj_inet(scene->allowed_udp), to = nj_inet(scene->udp);
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int fd = nj_udp();

	if (connect(fd, (void *)&peer, sizeof(peer)) || connect(fd, &none, sizeof(none)))
		return errno;
	return nj_error(connect(fd, (void *)&to, sizeof(to))) ?: nj_tell(fd);
}

static int fastopen_sendto(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->tcp);

	return nj_send(socket(AF_INET, SOCK_STREAM, 0), &to, sizeof(to), MSG_FASTOPEN);
}

static int fastopen_sendmsg(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->tcp);
	struct iovec data;
	struct mmsghdr one = message(&data, &to, sizeof(to));

	return nj_error(sendmsg(socket(AF_INET, SOCK_STREAM, 0), &one.msg_hdr, MSG_FASTOPEN));
}

// connect(2) only remembers the address; the first write connects.
static int fastopen_connect(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->tcp);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)))
		return errno;
	return nj_error(connect(fd, (void *)&to, sizeof(to))) ?: nj_tell(fd);
}

static int mptcp_connect(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->tcp);

	return nj_connect(SOCK_STREAM, IPPROTO_MPTCP, &to, sizeof(to));
}

static const struct nj_door rows[] = {
	{ "tcp-connect", tcp_connect },
	{ "udp-sendto", udp_sendto },
	{ "udp-connect", udp_connect },
	{ "udp-sendmsg", udp_sendmsg },
	{ "udp-sendmmsg", udp_sendmmsg },
	{ "connected-sendmsg", connected_sendmsg },
	{ "tcp6-connect", tcp6_connect },
	{ "udp6-sendto", udp6_sendto },
	{ "mapped-connect", mapped_connect },
	{ "mapped-sendto", mapped_sendto },
	{ "inet-on-inet6", inet_on_inet6 },
	{ "unspec-sendto", unspec_sendto },
	{ "no-address", no_address },
	{ "no-address6", no_address6 },
	{ "long-address", long_address },
	{ "dirty-registers", dirty_registers },
	{ "reconnect", reconnect },
	{ "fastopen-sendto", fastopen_sendto },
	{ "fastopen-sendmsg", fastopen_sendmsg },
	{ "fastopen-connect", fastopen_connect },
	{ "mptcp-connect", mptcp_connect },
};

const struct nj_doors nj_doors_send = { rows, COUNT(rows) };
