// What the doctor's probes share: doors of the jail, and ways to try them.
//
// A door's function runs in a process of its own and gives the errno that stopped it,
// 0 if nothing did. Whether it got anywhere is not its word: see netjail/doctor.
#ifndef NJ_DOORS_H
#define NJ_DOORS_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core.h"
#include "doors_api.h"

#define NJ_TOKEN "netjail doctor" // what every probe sends
#define NJ_TOKEN_SIZE (sizeof(NJ_TOKEN) - 1)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct nj_door {
	const char *name;
	int (*open)(const struct nj_scene *scene);
};

// A file's doors, and how many they are.
struct nj_doors {
	const struct nj_door *rows;
	size_t count;
};

extern const struct nj_doors nj_doors_send, nj_doors_abi, nj_doors_ring, nj_doors_family,
	nj_doors_route, nj_doors_process, nj_doors_image, nj_doors_outside, nj_doors_reach,
	nj_doors_race, nj_doors_vault, nj_doors_works;

static inline int nj_error(long result)
{
	return result < 0 ? errno : 0;
}

static inline struct sockaddr_in nj_inet(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static inline struct sockaddr_in6 nj_inet6(uint16_t port)
{
	return (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port),
				      .sin6_addr = IN6ADDR_LOOPBACK_INIT };
}

static inline int nj_udp(void)
{
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static inline int nj_send(int fd, const void *address, socklen_t length, int flags)
{
	return nj_error(sendto(fd, NJ_TOKEN, NJ_TOKEN_SIZE, flags, address, length));
}

static inline int nj_tell(int fd)
{
	return nj_error(send(fd, NJ_TOKEN, NJ_TOKEN_SIZE, MSG_NOSIGNAL));
}

// When a race that begins now is over, for nj_now().
static inline uint64_t nj_end(const struct nj_scene *scene)
{
	return nj_now() + scene->milliseconds * 1000000ULL;
}

int nj_send_to(uint16_t port);
int nj_connect_to(uint16_t port);
int nj_connect(int type, int protocol, const void *address, socklen_t length);
int nj_ended(int pid);

#endif
