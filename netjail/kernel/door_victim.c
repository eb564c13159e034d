// Processes outside the jail, for the probes to attack. They end with the doctor.
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "doors.h"

static struct nj_cell *cell;

static void count(int signal)
{
	(void)signal;
	__atomic_add_fetch(&cell->signals, 1, __ATOMIC_RELAXED);
}

static void wait_for_ever(void)
{
	sigset_t none;

	sigemptyset(&none);
	for (;;)
		sigsuspend(&none);
}

// It has the doctor's descriptors, and its memory at the same addresses.
int nj_victim(struct nj_cell **ret_cell, int32_t *ret)
{
	struct sigaction action = { .sa_handler = count };
	pid_t pid;

	cell = mmap(NULL, sizeof(*cell), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (cell == MAP_FAILED)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); // Yama shall not protect it
		sigaction(SIGUSR1, &action, NULL);
		sigaction(SIGIO, &action, NULL);
		cell->signals = 0;
		cell->ready = 1;
		wait_for_ever();
	}
	while (!__atomic_load_n(&cell->ready, __ATOMIC_RELAXED) && kill(pid, 0) == 0)
		usleep(100);
	*ret_cell = cell;
	*ret = pid;
	return 0;
}

// A datagram socket in a network namespace of this process's own; -errno.
static int listen_elsewhere(uint16_t *ret_port)
{
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct sockaddr_in own = nj_inet(0);
	socklen_t size = sizeof(own);
	int fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) && unshare(CLONE_NEWNET))
		return -errno;
	fd = nj_udp();
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback) ||
	    bind(fd, (void *)&own, sizeof(own)) || getsockname(fd, (void *)&own, &size))
		return -errno;
	*ret_port = ntohs(own.sin_port);
	return fd;
}

static void be_stranger(int channel)
{
	uint16_t port = 0;
	int fd = listen_elsewhere(&port);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	// Without a socket the channel's end and our status tell.
	if (fd < 0)
		_exit(-fd);
	if (nj_send_descriptor(channel, fd, port))
		_exit(EPIPE);
	close(channel);
	wait_for_ever();
}

// *ret_socket is in its namespace and ours to read.
int nj_stranger(uint16_t *ret_port, int32_t *ret_socket, int32_t *ret)
{
	int ends[2], fd, error;
	int32_t port;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		be_stranger(ends[1]);
	}
	close(ends[1]);
	fd = pid < 0 ? -errno : nj_receive_descriptor(ends[0], MSG_CMSG_CLOEXEC, &port);
	close(ends[0]);
	if (fd < 0) {
		error = pid < 0 ? fd : -nj_ended(pid);
		return error ? error : fd;
	}
	*ret_port = (uint16_t)port;
	*ret_socket = fd;
	*ret = pid;
	return 0;
}
