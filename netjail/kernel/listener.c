// The jail's listeners, MPTCP's among them: Go and others ask for those unasked.
#include "diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <sys/stat.h>

static int ask(int fd, int option, void *ret, socklen_t size)
{
	return getsockopt(fd, SOL_SOCKET, option, ret, &size) < 0 ? -errno : 0;
}

struct sole {
	uint32_t inode;
	uint32_t seen;
	uint64_t cookie;
};

static int find_inode(void *context, const struct nlmsghdr *message)
{
	const struct inet_diag_msg *socket = NLMSG_DATA(message);
	struct sole *sole = context;

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*socket)))
		return -EBADMSG;
	if (socket->idiag_inode != sole->inode)
		return 0;
	sole->seen++;
	sole->cookie = socket->id.idiag_cookie[0] | (uint64_t)socket->id.idiag_cookie[1] << 32;
	return 0;
}

// The cookie of the TCP socket under the listening MPTCP socket `fd`.
//
// sock_diag shows that one, with a cookie of its own and the inode of its owner
// (seen on Linux 6.18; mptcp_sock_graft() in net/mptcp/protocol.h). Inode
// numbers wrap around, so that an outsider's could be made equal: hence exactly
// one listener may have it, and ours must still be listening afterwards.
static int find_subflow(struct nj_owners *owners, int fd, uint64_t *ret)
{
	struct sole sole = { 0 };
	struct stat status;
	int parts, listening = 0;

	if (fstat(fd, &status) < 0)
		return -errno;
	sole.inode = (uint32_t)status.st_ino;
	parts = nj_dump_tcp(owners, 0, find_inode, &sole);
	if (parts < 0)
		return parts;
	parts = ask(fd, SO_ACCEPTCONN, &listening, sizeof(listening));
	if (parts < 0)
		return parts;
	*ret = sole.cookie;
	return listening && sole.seen == 1 ? 0 : -ESTALE;
}

// Remember the jail's listener `fd`, a duplicate of ours, after its listen()
// and before the next one of the jail: what an MPTCP socket listens with can
// only be found then. -ESTALE: it does not listen.
int nj_owners_listener(struct nj_owners *owners, int fd)
{
	int protocol, error;
	uint64_t cookie;

	error = ask(fd, SO_COOKIE, &cookie, sizeof(cookie));
	if (!error)
		error = ask(fd, SO_PROTOCOL, &protocol, sizeof(protocol));
	if (!error)
		error = nj_owners_add(owners, cookie);
	if (error || protocol != IPPROTO_MPTCP)
		return error;
	error = find_subflow(owners, fd, &cookie);
	return error ? error : nj_owners_add(owners, cookie);
}
