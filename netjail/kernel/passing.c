// A descriptor with a number over a unix socket: SCM_RIGHTS of unix(7).
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "core.h"

// Never waits: the few messages of a run fit into the socket.
int nj_send_descriptor(int channel, int fd, int32_t number)
{
	char control[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct iovec data = { &number, sizeof(number) };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);

	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(part), &fd, sizeof(fd));
	return sendmsg(channel, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

// Returns the descriptor, -EPIPE at the channel's end, or -errno.
int nj_receive_descriptor(int channel, int flags, int32_t *ret_number)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { ret_number, sizeof(*ret_number) };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	ssize_t size = recvmsg(channel, &message, flags);
	struct cmsghdr *part = size > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	int fd;

	if (size <= 0)
		return size ? -errno : -EPIPE;
	if (!part || part->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(part), sizeof(fd));
	return fd;
}
