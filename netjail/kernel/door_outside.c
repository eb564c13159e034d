// Attacks on a process outside: what it could be made to do, nobody judges.
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "doors.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static const uint64_t mark = 0x6e65746a61696cULL;

static int by_ptrace(const struct nj_scene *scene)
{
	int error;

	if (ptrace(PTRACE_ATTACH, scene->victim, 0, 0))
		return errno;
	waitpid(scene->victim, NULL, __WALL);
	error = nj_error(ptrace(PTRACE_POKEDATA, scene->victim, scene->cell, mark));
	ptrace(PTRACE_DETACH, scene->victim, 0, 0);
	return error;
}

static int by_mem(const struct nj_scene *scene)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", scene->victim);
	fd = open(path, O_RDWR);
	return fd < 0 ? errno : nj_error(pwrite(fd, &mark, sizeof(mark), (off_t)scene->cell));
}

static int by_writev(const struct nj_scene *scene)
{
	struct iovec here = { (void *)&mark, sizeof(mark) };
	struct iovec there = { (void *)(uintptr_t)scene->cell, sizeof(mark) };

	return nj_error(process_vm_writev(scene->victim, &here, 1, &there, 1, 0));
}

static int pidfd(int32_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int by_descriptor(const struct nj_scene *scene)
{
	int fd = pidfd(scene->victim);

	if (fd >= 0)
		fd = (int)syscall(SYS_pidfd_getfd, fd, scene->held, 0);
	return fd < 0 ? errno : nj_tell(fd);
}

static int by_signal(const struct nj_scene *scene)
{
	return nj_error(kill(scene->victim, SIGUSR1));
}

static int by_thread_signal(const struct nj_scene *scene)
{
	return nj_error(syscall(SYS_tkill, scene->victim, SIGUSR1));
}

static int by_queue(const struct nj_scene *scene)
{
	return nj_error(sigqueue(scene->victim, SIGUSR1, (union sigval){ 0 }));
}

static int by_pidfd_signal(const struct nj_scene *scene)
{
	int fd = pidfd(scene->victim);

	return fd < 0 ? errno : nj_error(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, NULL, 0));
}

// The kernel sends it, when our own pair has something to read.
static int by_owner(const struct nj_scene *scene)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || fcntl(ends[0], F_SETOWN, scene->victim) ||
	    fcntl(ends[0], F_SETFL, O_ASYNC))
		return errno;
	return nj_tell(ends[1]);
}

// One file less than it had; the doctor sees it, and puts it back.
static int by_limit(const struct nj_scene *scene)
{
	struct rlimit limit;

	if (prlimit(scene->victim, RLIMIT_NOFILE, NULL, &limit))
		return errno;
	limit.rlim_cur--;
	return nj_error(prlimit(scene->victim, RLIMIT_NOFILE, &limit, NULL));
}

static int by_namespace(const struct nj_scene *scene)
{
	int fd = pidfd(scene->stranger);

	if (fd < 0 || (setns(fd, CLONE_NEWUSER | CLONE_NEWNET) && setns(fd, CLONE_NEWNET)))
		return errno;
	return nj_send_to(scene->elsewhere);
}

// Into the terminal that the doctor gave us, whose other side it holds.
static int by_terminal(const struct nj_scene *scene)
{
	int fd = open("/dev/tty", O_RDWR);

	(void)scene;
	return fd < 0 ? errno : nj_error(ioctl(fd, TIOCSTI, "x"));
}

// Who traces us, 0: nobody.
static int tracer(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[128];
	int found = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "TracerPid: %d", &found) == 1)
			break;
	if (file)
		fclose(file);
	return found;
}

// Starve it, stop it, end it, and then use its absence.
static int by_supervisor(const struct nj_scene *scene)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGSEGV, SIGSTOP, SIGKILL };
	struct rlimit none = { 0, 0 };
	struct sched_param least = { 0 };
	int pid = tracer();

	if (pid) {
		prlimit(pid, RLIMIT_NOFILE, &none, NULL);
		sched_setscheduler(pid, SCHED_IDLE, &least);
		for (size_t i = 0; i < COUNT(signals); i++)
			kill(pid, signals[i]);
	}
	return nj_connect_to(scene->tcp);
}

static const struct nj_door rows[] = {
	{ "victim-ptrace", by_ptrace },
	{ "victim-mem", by_mem },
	{ "victim-writev", by_writev },
	{ "victim-descriptor", by_descriptor },
	{ "victim-kill", by_signal },
	{ "victim-tkill", by_thread_signal },
	{ "victim-sigqueue", by_queue },
	{ "victim-pidfd-signal", by_pidfd_signal },
	{ "victim-sigio", by_owner },
	{ "victim-prlimit", by_limit },
	{ "setns", by_namespace },
	{ "terminal", by_terminal },
	{ "supervisor", by_supervisor },
};

const struct nj_doors nj_doors_outside = { rows, COUNT(rows) };
