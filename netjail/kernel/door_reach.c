// Helpers outside: brokers, a shared port, what was left open.
#include <fcntl.h>
#include <stdio.h>
#include <sys/un.h>

#include "doors.h"

static struct sockaddr_un named(const char *name)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	memcpy(to.sun_path, name, strnlen(name, sizeof(to.sun_path)));
	return to;
}

static int unix_path(const struct nj_scene *scene)
{
	struct sockaddr_un to = named(scene->path);

	return nj_connect(SOCK_STREAM, 0, &to, sizeof(to));
}

static int unix_datagram(const struct nj_scene *scene)
{
	struct sockaddr_un to = named(scene->datagrams);

	return nj_send(socket(AF_UNIX, SOCK_DGRAM, 0), &to, sizeof(to), 0);
}

static int unix_abstract(const struct nj_scene *scene)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t length = strnlen(scene->abstract, sizeof(to.sun_path) - 1);

	memcpy(to.sun_path + 1, scene->abstract, length);
	return nj_connect(SOCK_STREAM, 0, &to, offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

// By another name: this process's root, seen through /proc.
static int unix_detour(const struct nj_scene *scene)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/root%s", scene->path) >=
	    (int)sizeof(to.sun_path))
		return ENAMETOOLONG;
	return nj_connect(SOCK_STREAM, 0, &to, sizeof(to));
}

// A listener of ours on the canary's port: some of the connections are the canary's.
static int shared_port(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->shared);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, error = 0;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) ||
	    bind(fd, (void *)&to, sizeof(to)) || listen(fd, 64))
		return errno;
	for (int i = 0; i < 64; i++)
		error = nj_connect_to(scene->shared);
	return error;
}

static int inherited_socket(const struct nj_scene *scene)
{
	return nj_tell(scene->socket);
}

static const struct nj_door rows[] = {
	{ "unix-path", unix_path },
	{ "unix-datagram", unix_datagram },
	{ "unix-abstract", unix_abstract },
	{ "unix-detour", unix_detour },
	{ "shared-port", shared_port },
	{ "inherited-socket", inherited_socket },
};

const struct nj_doors nj_doors_reach = { rows, COUNT(rows) };
