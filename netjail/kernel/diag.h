// What the files that answer "who listens?" share: netlink.c, cookies.c,
// diag.c and its two askers, listener.c.
#ifndef NJ_DIAG_H
#define NJ_DIAG_H

#include "core.h"

#include <linux/netlink.h>
#include <stdbool.h>
#include <sys/socket.h>

// ---- netlink.c ----

// The most that the kernel puts into one datagram of a dump is 32 KiB:
// netlink_recvmsg() in net/netlink/af_netlink.c.
#define NJ_NETLINK_BUFFER 32768

struct nj_netlink {
	int fd;
	uint32_t sequence;
	_Alignas(struct nlmsghdr) uint8_t buffer[NJ_NETLINK_BUFFER];
};

// Called for each message of an answer; -errno ends it.
typedef int nj_each(void *context, const struct nlmsghdr *message);

int nj_netlink_open(struct nj_netlink *link, int protocol);
void nj_netlink_close(struct nj_netlink *link);
int nj_netlink_ask(struct nj_netlink *link, struct nlmsghdr *request, nj_each *each,
		   void *context);

// ---- cookies.c ----

#define NJ_COOKIES_RECENT 1024

// A set of socket cookies; 0 is no cookie.
struct nj_cookies {
	uint64_t *slots;
	uint32_t count;
	uint64_t recent[NJ_COOKIES_RECENT];  // a ring of the last ones added
	uint32_t next;
};

int nj_cookies_new(struct nj_cookies *ret);
void nj_cookies_free(struct nj_cookies *cookies);
bool nj_cookies_full(const struct nj_cookies *cookies);
bool nj_cookies_has(const struct nj_cookies *cookies, uint64_t cookie);
int nj_cookies_add(struct nj_cookies *cookies, uint64_t cookie);

// ---- diag.c ----

// The states of include/net/tcp_states.h that can receive. A datagram socket
// with no peer is in CLOSE.
#define NJ_ESTABLISHED 1
#define NJ_CLOSE 7
#define NJ_LISTEN 10
#define NJ_STATE(state) (1u << (state))

struct nj_owners {
	struct nj_netlink diag;
	struct nj_netlink route;
	struct nj_cookies cookies;
	uint32_t limit;  // cookies that start the next prune
};

// What a dump found that could receive.
struct nj_tally {
	uint32_t own;
	uint32_t other;
	uint64_t sum;  // of all cookies: tells two dumps apart
};

// Makes a dump and returns nj_netlink_ask()'s parts, or -errno.
typedef int nj_dump(struct nj_owners *owners, void *query, struct nj_tally *ret);

void nj_count(const struct nj_owners *owners, struct nj_tally *tally, const uint32_t raw[2]);
int nj_settle(struct nj_owners *owners, nj_dump *make, void *query);

// ---- diag_inet.c, diag_unix.c ----

int nj_dump_tcp(struct nj_owners *owners, uint16_t port, nj_each *each, void *context);
int nj_dump_udp(struct nj_owners *owners, uint16_t port, nj_each *each, void *context);
int nj_dump_unix(struct nj_owners *owners, uint32_t states, uint32_t show, nj_each *each,
		 void *context);

#endif
