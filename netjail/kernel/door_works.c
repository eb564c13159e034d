// What must still work: else a jail that refuses everything would look like a good one.
// And what proves that a probe has its bounds.
#include <signal.h>
#include <stdio.h>
#include <sys/un.h>

#include "doors.h"

static int works_connect(const struct nj_scene *scene)
{
	return nj_connect_to(scene->allowed_tcp);
}

static int works_sendto(const struct nj_scene *scene)
{
	return nj_send_to(scene->allowed_udp);
}

static int works_sendmmsg(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->allowed_udp);
	struct iovec data = { NJ_TOKEN, NJ_TOKEN_SIZE };
	struct mmsghdr both[2] = { [0 ... 1].msg_hdr = { &to, sizeof(to), &data, 1, NULL, 0, 0 } };

	return sendmmsg(nj_udp(), both, 2, 0) == 2 ? 0 : errno;
}

// sendto(2) without an address: to the connected peer.
static int works_connected(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->allowed_udp);
	int fd = nj_udp();

	if (connect(fd, (void *)&to, sizeof(to)))
		return errno;
	return nj_send(fd, NULL, 0, 0);
}

// Pass on what came by `from`, so that the doctor hears of it.
static int pass(int from, const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->allowed_udp);
	char got[NJ_TOKEN_SIZE];
	ssize_t size = recv(from, got, sizeof(got), MSG_WAITALL);

	if (size < 0)
		return errno;
	return nj_error(sendto(nj_udp(), got, size, 0, (void *)&to, sizeof(to)));
}

static int works_pair(const struct nj_scene *scene)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return errno;
	return nj_tell(ends[0]) ?: pass(ends[1], scene);
}

// To our own listener; the backlog takes us before accept(2) does.
static int served(int type, const void *name, socklen_t length, const struct nj_scene *scene)
{
	int listener = socket(((const struct sockaddr *)name)->sa_family, type, 0), fd, error;

	if (bind(listener, name, length) || listen(listener, 1))
		return errno;
	error = nj_connect(type, 0, name, length);
	if (error)
		return error;
	fd = accept(listener, NULL, NULL);
	return fd < 0 ? errno : pass(fd, scene);
}

static int works_server(const struct nj_scene *scene)
{
	struct sockaddr_in own = nj_inet(scene->spare);

	return served(SOCK_STREAM, &own, sizeof(own), scene);
}

static int works_unix_server(const struct nj_scene *scene)
{
	struct sockaddr_un own = { .sun_family = AF_UNIX };

	snprintf(own.sun_path + 1, sizeof(own.sun_path) - 1, "netjail-doctor-%d", getpid());
	return served(SOCK_STREAM, &own, sizeof(own), scene);
}

static int works_own_datagram(const struct nj_scene *scene)
{
	struct sockaddr_in own = nj_inet(scene->spare);
	int fd = nj_udp();

	if (bind(fd, (void *)&own, sizeof(own)))
		return errno;
	return nj_send_to(scene->spare) ?: pass(fd, scene);
}

static int hangs(const struct nj_scene *scene)
{
	(void)scene;
	for (;;)
		pause();
	return 0;
}

static int crashes(const struct nj_scene *scene)
{
	(void)scene;
	raise(SIGSEGV);
	return 0;
}

static const struct nj_door rows[] = {
	{ "works-connect", works_connect },
	{ "works-sendto", works_sendto },
	{ "works-sendmmsg", works_sendmmsg },
	{ "works-connected", works_connected },
	{ "works-pair", works_pair },
	{ "works-server", works_server },
	{ "works-own-datagram", works_own_datagram },
	{ "works-unix-server", works_unix_server },
	{ "hangs", hangs },
	{ "crashes", crashes },
};

const struct nj_doors nj_doors_works = { rows, COUNT(rows) };
