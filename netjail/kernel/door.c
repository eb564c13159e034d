// The doctor's probes: one at a time, each in a process that cannot outstay its time.
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "doors.h"

static const struct nj_doors *const files[] = {
	&nj_doors_send, &nj_doors_abi, &nj_doors_ring, &nj_doors_family, &nj_doors_route,
	&nj_doors_process, &nj_doors_image, &nj_doors_outside, &nj_doors_reach, &nj_doors_race,
	&nj_doors_vault, &nj_doors_works,
};

int nj_send_to(uint16_t port)
{
	struct sockaddr_in to = nj_inet(port);

	return nj_send(nj_udp(), &to, sizeof(to), 0);
}

// Connect and, so that the canary knows us, send; the family is the address's.
int nj_connect(int type, int protocol, const void *address, socklen_t length)
{
	int fd = socket(((const struct sockaddr *)address)->sa_family, type, protocol);
	int error = fd < 0 ? errno : nj_error(connect(fd, address, length));

	return error ? error : nj_tell(fd);
}

int nj_connect_to(uint16_t port)
{
	struct sockaddr_in to = nj_inet(port);

	return nj_connect(SOCK_STREAM, 0, &to, sizeof(to));
}

// What a child, a door of its own, ended with.
int nj_ended(int pid)
{
	int status;

	if (pid < 0)
		return errno;
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

static const struct nj_door *find(uint32_t index)
{
	for (size_t i = 0; i < COUNT(files); i++) {
		if (index < files[i]->count)
			return &files[i]->rows[index];
		index -= files[i]->count;
	}
	return NULL;
}

const char *nj_door_name(uint32_t index)
{
	const struct nj_door *door = find(index);

	return door ? door->name : NULL;
}

static void run(const struct nj_door *door, const struct nj_scene *scene)
{
	sigset_t none;

	setpgid(0, 0); // all that it starts ends with it
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	_exit(door->open(scene));
}

// Wait for `pid`, in small steps: a container may have no pidfd to poll.
static int await(int pid, uint32_t milliseconds, int *status)
{
	struct timespec step = { 0, 500000 };

	for (uint32_t half = 0; half < 2 * milliseconds; half++) {
		int found = waitpid(pid, status, WNOHANG);

		if (found)
			return found < 0 ? -errno : 1;
		nanosleep(&step, NULL);
	}
	return 0;
}

// Try a door; `bound` is in milliseconds.
int nj_door_try(uint32_t index, const struct nj_scene *scene, uint32_t bound,
		struct nj_tried *ret)
{
	const struct nj_door *door = find(index);
	int status = 0, pid;

	memset(ret, 0, sizeof(*ret));
	if (!door)
		return -ENOENT;
	// What it leaves behind comes to us, and is ended below.
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		run(door, scene);
	ret->hung = await(pid, bound, &status) == 0;
	kill(-pid, SIGKILL);
	if (ret->hung && waitpid(pid, &status, __WALL) < 0)
		return -errno;
	while (waitpid(-pid, NULL, __WALL) > 0) // those of its group, no child of our caller's
		;
	if (WIFSIGNALED(status))
		ret->signal = WTERMSIG(status);
	else
		ret->error = WEXITSTATUS(status);
	return 0;
}
