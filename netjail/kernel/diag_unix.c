// Whose socket would receive what is sent to a unix path or abstract name.
#include "diag.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>

struct unix_query {
	struct nj_owners *owners;
	struct nj_tally *tally;
	const uint8_t *name;  // abstract, without its leading NUL; NULL: by inode
	size_t size;
	uint32_t device;
	uint32_t inode;
	int type;             // SOCK_*, 0: any
	int found;            // SOCK_* of the last that matched, whatever it was
};

static bool matches_unix(const struct unix_query *query, const struct rtattr *attribute)
{
	const uint8_t *name = RTA_DATA(attribute);
	const struct unix_diag_vfs *vfs = RTA_DATA(attribute);

	if (query->name)
		return attribute->rta_type == UNIX_DIAG_NAME &&
		       RTA_PAYLOAD(attribute) == query->size + 1 && name[0] == 0 &&
		       memcmp(name + 1, query->name, query->size) == 0;
	return attribute->rta_type == UNIX_DIAG_VFS &&
	       RTA_PAYLOAD(attribute) >= sizeof(*vfs) && vfs->udiag_vfs_dev == query->device &&
	       vfs->udiag_vfs_ino == query->inode;
}

// Whether the socket takes what is sent to its name. An accepted stream socket
// has its listener's name too, unix_stream_connect() in net/unix/af_unix.c.
static bool receives(const struct unix_query *query, const struct unix_diag_msg *socket)
{
	if (query->type && query->type != socket->udiag_type)
		return false;
	return socket->udiag_type == SOCK_DGRAM || socket->udiag_state == NJ_LISTEN;
}

static int count_unix(void *context, const struct nlmsghdr *message)
{
	struct unix_query *query = context;
	const struct unix_diag_msg *socket = NLMSG_DATA(message);
	const struct rtattr *attribute = (const void *)(socket + 1);
	int left = (int)message->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*socket));

	if (left < 0)
		return -EBADMSG;
	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
		if (!matches_unix(query, attribute))
			continue;
		query->found = socket->udiag_type;
		if (receives(query, socket))
			nj_count(query->owners, query->tally, socket->udiag_cookie);
	}
	return 0;
}

int nj_dump_unix(struct nj_owners *owners, uint32_t states, uint32_t show, nj_each *each,
		     void *context)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req body;
	} request = {
		.header = { .nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .sdiag_family = AF_UNIX, .udiag_states = states, .udiag_show = show },
	};

	return nj_netlink_ask(&owners->diag, &request.header, each, context);
}

static int dump_named(struct nj_owners *owners, void *context, struct nj_tally *ret)
{
	struct unix_query *query = context;
	uint32_t states = NJ_STATE(NJ_LISTEN);
	int parts;

	if (query->type == 0 || query->type == SOCK_DGRAM)
		states |= NJ_STATE(NJ_CLOSE) | NJ_STATE(NJ_ESTABLISHED);
	query->tally = ret;
	parts = nj_dump_unix(owners, states, query->name ? UDIAG_SHOW_NAME : UDIAG_SHOW_VFS,
			  count_unix, query);
	// An abstract name of one type and an inode have one socket: what was found
	// is all, however many parts it took.
	return parts > 1 && query->type && ret->own + ret->other == 1 ? 1 : parts;
}

// Whose socket of `type` (SOCK_*, 0: of any) would receive what is sent to the
// abstract name (without its leading NUL), or with `name` NULL to the socket
// file `inode` on `device`: an enum nj_owner.
//
// `device` is the kernel's own dev_t (MAJOR << 20 | MINOR of the superblock) and
// `inode` cut to 32 bits, as UNIX_DIAG_VFS has them. Two inodes that look the
// same there must both be the jail's. NOBODY of a path may be bound in another
// network namespace: paths are looked up in all of them, names are not.
int nj_owner_unix(struct nj_owners *owners, int type, uint32_t device, uint32_t inode,
		  const uint8_t *name, size_t size)
{
	struct unix_query query = { .owners = owners, .type = type, .device = device,
				    .inode = inode, .name = name, .size = size };

	return nj_settle(owners, dump_named, &query);
}

// The SOCK_* type of the socket bound to a socket file, listening or not; 0 if
// none in this network namespace is; or -errno.
int nj_unix_type(struct nj_owners *owners, uint32_t device, uint32_t inode)
{
	struct nj_tally tally = { 0 };
	struct unix_query query = { .owners = owners, .tally = &tally, .device = device,
				    .inode = inode };
	int parts = nj_dump_unix(owners, ~0u, UDIAG_SHOW_VFS, count_unix, &query);

	return parts < 0 ? parts : query.found;
}
