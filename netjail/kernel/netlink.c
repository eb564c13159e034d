// A question to the kernel over netlink(7), and its answer message by message.
#include "diag.h"

#include <errno.h>
#include <unistd.h>

struct nj_ask {
	nj_each *each;
	void *context;
	int parts;  // datagrams that had a message
	bool part;  // the datagram at hand had none yet
};

int nj_netlink_open(struct nj_netlink *link, int protocol)
{
	link->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	return link->fd < 0 ? -errno : 0;
}

void nj_netlink_close(struct nj_netlink *link)
{
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
}

// One datagram into the buffer: its size or -errno.
//
// The kernel makes the first part of an answer inside send() and each further
// part inside recv(), so that waiting would be for nothing: -EAGAIN is an error.
static int receive(struct nj_netlink *link)
{
	struct iovec part = { .iov_base = link->buffer, .iov_len = sizeof(link->buffer) };
	struct sockaddr_nl from;
	struct msghdr message = { .msg_name = &from, .msg_namelen = sizeof(from),
				  .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t size;

	do
		size = recvmsg(link->fd, &message, MSG_DONTWAIT);
	while (size < 0 && errno == EINTR);
	if (size < 0)
		return -errno;
	if (message.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	// Any process may write to a netlink socket; the kernel's port is 0.
	return from.nl_pid == 0 ? (int)size : 0;
}

// What a message that ends an answer says: 1 (ended) or -errno.
static int ending(const struct nlmsghdr *message)
{
	const int *error = NLMSG_DATA(message);

	// NLMSG_DONE and struct nlmsgerr both begin with an int, 0 or -errno.
	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*error)))
		return -EBADMSG;
	return *error < 0 ? *error : 1;
}

// Hand the messages of a datagram on: 0 (more to come), 1 (ended), or -errno.
static int read_messages(struct nj_netlink *link, size_t size, struct nj_ask *ask)
{
	const struct nlmsghdr *message = (const void *)link->buffer;
	int result;

	ask->part = true;
	for (; NLMSG_OK(message, size); message = NLMSG_NEXT(message, size)) {
		if (message->nlmsg_seq != link->sequence)
			continue;  // of a question that we gave up
		if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
			return ending(message);
		if (message->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		ask->parts += ask->part;
		ask->part = false;
		result = ask->each(ask->context, message);
		if (result < 0)
			return result;
		if (!(message->nlmsg_flags & NLM_F_MULTI))
			return 1;
	}
	return 0;
}

// Send `request` and hand each message of the answer to `each`.
//
// Returns the number of datagrams that had a message: a dump in one of them was
// made in one go, a longer one may have missed what moved between its parts.
// -EINTR: the kernel says itself that it did (NLM_F_DUMP_INTR).
int nj_netlink_ask(struct nj_netlink *link, struct nlmsghdr *request, nj_each *each,
		   void *context)
{
	struct nj_ask ask = { .each = each, .context = context };
	int size, result;

	request->nlmsg_seq = ++link->sequence;
	if (send(link->fd, request, request->nlmsg_len, 0) < 0)
		return -errno;
	do {
		size = receive(link);
		if (size < 0)
			return size;
		result = read_messages(link, (size_t)size, &ask);
	} while (result == 0);
	return result < 0 ? result : ask.parts;
}
