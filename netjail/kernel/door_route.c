// Allowed packets that an option sends elsewhere. They go to 127.0.0.9 or ::1 first, which
// a packet socket of the doctor's sees, whatever becomes of them there.
#include "doors.h"

#ifndef IPV6_RTHDR
#define IPV6_RTHDR 57
#endif

static const unsigned char loose[] = { 131, 7, 4, 127, 0, 0, 9, 0 };

// Type 4 of RFC 8754, which the kernel takes from anybody: the second of two segments is
// where it goes first.
static const unsigned char segments[40] = { 0, 4, 4, 1, 1, [39] = 1 };

// Type 2 of RFC 6275, the only one that a control message may bring (CONFIG_IPV6_MIP6).
static const unsigned char routing[24] = { 0, 2, 2, 1, [23] = 1 };

static int option(const struct nj_scene *scene)
{
	int fd = nj_udp();

	if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, loose, sizeof(loose)))
		return errno;
	return nj_send(fd, &(struct sockaddr_in[]){ nj_inet(scene->allowed_udp) },
		       sizeof(struct sockaddr_in), 0);
}

static int send_with(int fd, void *to, socklen_t length, int level, int type, const void *value,
		     size_t size)
{
	char control[CMSG_SPACE(sizeof(routing))] = { 0 };
	struct iovec data = { NJ_TOKEN, NJ_TOKEN_SIZE };
	struct msghdr message = { .msg_name = to, .msg_namelen = length, .msg_iov = &data,
				  .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = CMSG_SPACE(size) };
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);

	part->cmsg_level = level;
	part->cmsg_type = type;
	part->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(part), value, size);
	return nj_error(sendmsg(fd, &message, 0));
}

static int control(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->allowed_udp);

	return send_with(nj_udp(), &to, sizeof(to), IPPROTO_IP, IP_RETOPTS, loose, sizeof(loose));
}

// Another machine's address, which the rules allow.
static struct sockaddr_in6 far(const struct nj_scene *scene)
{
	struct sockaddr_in6 to = nj_inet6(scene->allowed_udp);

	inet_pton(AF_INET6, "2001:db8::9", &to.sin6_addr);
	return to;
}

static int option6(const struct nj_scene *scene)
{
	struct sockaddr_in6 to = far(scene);
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	if (setsockopt(fd, IPPROTO_IPV6, IPV6_RTHDR, segments, sizeof(segments)))
		return errno;
	return nj_send(fd, &to, sizeof(to), 0);
}

static int control6(const struct nj_scene *scene)
{
	struct sockaddr_in6 to = far(scene);

	return send_with(socket(AF_INET6, SOCK_DGRAM, 0), &to, sizeof(to), IPPROTO_IPV6,
			 IPV6_RTHDR, routing, sizeof(routing));
}

static const struct nj_door rows[] = {
	{ "route-option", option },
	{ "route-control", control },
	{ "route-option6", option6 },
	{ "route-control6", control6 },
};

const struct nj_doors nj_doors_route = { rows, COUNT(rows) };
