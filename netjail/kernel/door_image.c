// A new program: exec in ways that confuse a tracer.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "doors.h"

static char code[256];

static char *const *words(const struct nj_scene *scene)
{
	static char *argv[] = { NULL, "-ISc", code, NULL };

	snprintf(code, sizeof(code),
		 "import _socket; s = _socket.socket(2, 1, 0); s.connect(('127.0.0.1', %d)); "
		 "s.send(b'%s')",
		 scene->tcp, NJ_TOKEN);
	argv[0] = (char *)scene->python;
	return argv;
}

static int program(const struct nj_scene *scene)
{
	return nj_error(execv(scene->python, words(scene)));
}

static void *exec_here(void *scene)
{
	usleep(1000); // the leader sleeps by now
	_exit(program(scene));
}

// The kernel gives it the leader's tid: PTRACE_EVENT_EXEC in ptrace(2).
static int from_thread(const struct nj_scene *scene)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, exec_here, (void *)scene))
		return EAGAIN;
	for (;;)
		pause();
}

// Copy the interpreter to where nobody may read it, and give that.
static int unreadable(const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("unreadable", 0), found;
	char link[32];
	ssize_t size;

	if (from < 0 || to < 0)
		return -1;
	do
		size = sendfile(to, from, NULL, 1 << 26);
	while (size > 0);
	if (size < 0)
		return -1;
	fchmod(to, 0111);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", to);
	found = open(link, O_PATH | O_CLOEXEC);
	close(to); // a file that is open for writing cannot run: ETXTBSY
	return found;
}

// Whoever runs it may not look into it: it is not dumpable, see prctl(2).
static int execute_only(const struct nj_scene *scene)
{
	int fd = unreadable(scene->python);

	if (fd < 0)
		return errno;
	return nj_error(syscall(SYS_execveat, fd, "", words(scene), environ, AT_EMPTY_PATH));
}

static const struct nj_door rows[] = {
	{ "exec", program },
	{ "exec-from-thread", from_thread },
	{ "execute-only", execute_only },
};

const struct nj_doors nj_doors_image = { rows, COUNT(rows) };
