// Whose socket would receive: sock_diag(7) knows every listener of this network
// namespace by its cookie. diag_inet.c and diag_unix.c ask, this file keeps which
// cookies are the jail's own.
//
// Cookies never recur while the machine is up; inode numbers do.
#include "diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define PRUNE_AT 65536
// How often a dump in several parts is made again until two agree.
#define TRIES 4

static uint64_t join(const uint32_t raw[2])
{
	return raw[0] | (uint64_t)raw[1] << 32;
}

void nj_count(const struct nj_owners *owners, struct nj_tally *tally, const uint32_t raw[2])
{
	uint64_t cookie = join(raw);

	if (nj_cookies_has(&owners->cookies, cookie))
		tally->own++;
	else
		tally->other++;
	tally->sum += cookie;
}

static int verdict(const struct nj_tally *tally)
{
	if (tally->other)
		return NJ_OWNER_OUTSIDE;
	return tally->own ? NJ_OWNER_JAIL : NJ_OWNER_NOBODY;
}

// Make a dump, which returns its parts, until it can be believed.
int nj_settle(struct nj_owners *owners, nj_dump *make, void *query)
{
	struct nj_tally last, tally = { 0 };
	int parts = 0;

	for (int i = 0; i < TRIES; i++) {
		last = tally;
		tally = (struct nj_tally){ 0 };
		parts = make(owners, query, &tally);
		if (parts == 0 || parts == 1)
			return verdict(&tally);
		if (parts > 1 && i > 0 && memcmp(&tally, &last, sizeof(tally)) == 0)
			return verdict(&tally);
		if (parts < 0 && parts != -EINTR)
			break;
	}
	return NJ_OWNER_UNKNOWN;
}

int nj_owners_new(struct nj_owners **ret)
{
	struct nj_owners *owners = calloc(1, sizeof(*owners));
	int error;

	if (!owners)
		return -ENOMEM;
	owners->limit = PRUNE_AT;
	owners->diag.fd = owners->route.fd = -1;
	error = nj_cookies_new(&owners->cookies);
	if (error) {
		nj_owners_free(owners);
		return error;
	}
	// A host may refuse them: then every question fails, and the answer is UNKNOWN.
	(void)nj_netlink_open(&owners->diag, NETLINK_SOCK_DIAG);
	(void)nj_netlink_open(&owners->route, NETLINK_ROUTE);
	*ret = owners;
	return 0;
}

void nj_owners_free(struct nj_owners *owners)
{
	if (!owners)
		return;
	nj_netlink_close(&owners->diag);
	nj_netlink_close(&owners->route);
	nj_cookies_free(&owners->cookies);
	free(owners);
}

struct survivors {
	const struct nj_cookies *old;
	struct nj_cookies *live;
};

static int survive(const struct survivors *survivors, const uint32_t raw[2])
{
	uint64_t cookie = join(raw);

	if (!nj_cookies_has(survivors->old, cookie))
		return 0;
	return nj_cookies_add(survivors->live, cookie);
}

static int survive_inet(void *context, const struct nlmsghdr *message)
{
	const struct inet_diag_msg *socket = NLMSG_DATA(message);

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*socket)))
		return -EBADMSG;
	return survive(context, socket->id.idiag_cookie);
}

static int survive_unix(void *context, const struct nlmsghdr *message)
{
	const struct unix_diag_msg *socket = NLMSG_DATA(message);

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*socket)))
		return -EBADMSG;
	return survive(context, socket->udiag_cookie);
}

// Everything that can receive now. A socket that is bound but does not listen
// is added again at its listen(), so that it need not be found.
static int dump_living(struct nj_owners *owners, struct survivors *survivors)
{
	int parts = nj_dump_tcp(owners, 0, survive_inet, survivors);

	if (parts >= 0)
		parts = nj_dump_udp(owners, 0, survive_inet, survivors);
	if (parts >= 0)
		parts = nj_dump_unix(owners, ~0u, 0, survive_unix, survivors);
	return parts < 0 ? parts : 0;
}

// Forget the sockets that are gone, so that a million of them need no memory.
// The last ones added stay: a bind() under way is in no dump yet.
static int prune(struct nj_owners *owners)
{
	struct nj_cookies live;
	struct survivors survivors = { .old = &owners->cookies, .live = &live };
	int error = nj_cookies_new(&live);

	if (error)
		return error;
	for (uint32_t i = 0; i < NJ_COOKIES_RECENT; i++)
		nj_cookies_add(&live, owners->cookies.recent[i]);
	error = dump_living(owners, &survivors);
	if (error) {
		nj_cookies_free(&live);
		return error;
	}
	nj_cookies_free(&owners->cookies);
	owners->cookies = live;
	owners->limit = live.count * 2 > PRUNE_AT ? live.count * 2 : PRUNE_AT;
	return 0;
}

// Remember a socket that the jail made by its SO_COOKIE, before it can receive.
int nj_owners_add(struct nj_owners *owners, uint64_t cookie)
{
	// Nothing to compare it with, and nothing to prune by.
	if (owners->diag.fd < 0)
		return 0;
	// A prune that fails is tried again; a set that cannot grow says so.
	if (owners->cookies.count >= owners->limit || nj_cookies_full(&owners->cookies))
		(void)prune(owners);
	return nj_cookies_add(&owners->cookies, cookie);
}

uint32_t nj_owners_count(const struct nj_owners *owners)
{
	return owners->cookies.count;
}

// The cookie of our network namespace, to compare with a tracee socket's
// SO_NETNS_COOKIE; -ENOPROTOOPT before Linux 5.14.
int nj_netns_cookie(uint64_t *ret)
{
	socklen_t size = sizeof(*ret);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ret, &size) < 0)
		error = -errno;
	close(fd);
	return error;
}
