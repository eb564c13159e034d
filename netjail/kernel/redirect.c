// Where a call that is led elsewhere comes from: the other end knows its caller by that.
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core.h"

static int port_of(int fd, sa_family_t *ret_family)
{
	struct sockaddr_in6 name = { 0 };  // sin_port lies where sin6_port does
	socklen_t size = sizeof(name);

	if (getsockname(fd, (struct sockaddr *)&name, &size) < 0)
		return -errno;
	*ret_family = name.sin6_family;
	if (name.sin6_family != AF_INET && name.sin6_family != AF_INET6)
		return -EAFNOSUPPORT;
	return ntohs(name.sin6_port);
}

// The kernel would choose a port in the call itself; the same one is chosen before it.
static int choose_port(int fd)
{
	struct sockaddr_in6 any = { 0 };
	int port = port_of(fd, &any.sin6_family);

	if (port)
		return port;
	if (bind(fd, (struct sockaddr *)&any,
		 any.sin6_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(any)) < 0)
		return -errno;
	return port_of(fd, &any.sin6_family);
}

// The local port of the socket that a parked call is made on, which then has one.
//
// Another thread may have put another socket there: then that one's questions are
// answered, and this one's are not.
int nj_local_port(struct nj_jail *jail, int32_t tid)
{
	struct nj_task *task = nj_task_find(jail, tid);
	int fd, port;

	if (!task || task->stage != NJ_PARKED)
		return -ESRCH;
	fd = nj_duplicate(task, (uint32_t)nj_args_of(task)[nj_row_of(jail, task)->descriptor]);
	if (fd < 0)
		return fd;
	port = choose_port(fd);
	close(fd);
	return port;
}

// Put the stub's address in the place of the judged one; sources.c shows answers as if
// they came from there.
int nj_lead(struct nj_jail *jail, int32_t tid, const uint8_t *name, uint32_t size)
{
	int error = nj_rename(jail, tid, name, size);

	if (!error)
		nj_task_find(jail, tid)->call->led = true;
	return error;
}
