// Processes that would escape the supervisor, and filters that would answer before it.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "doors.h"

static int cloned(const struct nj_scene *scene, unsigned long flags)
{
	long pid = syscall(SYS_clone, flags, 0, 0, 0, 0);

	if (pid == 0)
		_exit(nj_connect_to(scene->tcp));
	return nj_ended((int)pid);
}

static int untraced(const struct nj_scene *scene)
{
	return cloned(scene, CLONE_UNTRACED | SIGCHLD);
}

// A sibling that shares our memory, without a signal at its end.
static int sibling(const struct nj_scene *scene)
{
	return cloned(scene, 0);
}

static int clone3_untraced(const struct nj_scene *scene)
{
	uint64_t args[8] = { CLONE_UNTRACED, [4] = SIGCHLD };
	long pid = syscall(SYS_clone3, args, sizeof(args));

	if (pid == 0)
		_exit(nj_connect_to(scene->tcp));
	return nj_ended((int)pid);
}

// -- A hostile parent's own ptrace ----

// At the entry of its call the child's port becomes the canary's.
static int lead_astray(int pid, const struct nj_scene *scene)
{
	struct user_regs_struct regs;
	struct sockaddr_in to = nj_inet(scene->tcp);
	long word;
	int status;

	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return ECHILD;
	for (int stops = 0; stops < 100; stops++) {
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0) || waitpid(pid, &status, __WALL) != pid)
			return errno;
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (!WIFSTOPPED(status) || ptrace(PTRACE_GETREGS, pid, 0, &regs))
			return EINTR;
		if (regs.orig_rax != SYS_connect)
			continue;
		memcpy(&word, &to, sizeof(word));
		if (ptrace(PTRACE_POKEDATA, pid, regs.rsi, word))
			return errno;
	}
	return ETIME;
}

static int traced_child(const struct nj_scene *scene, unsigned long flags)
{
	long pid = syscall(SYS_clone, flags, 0, 0, 0, 0);

	if (pid < 0)
		return errno;
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(errno);
		kill(getpid(), SIGSTOP); // libc's raise() would take our parent's tid
		_exit(nj_connect_to(scene->allowed_tcp));
	}
	return lead_astray((int)pid, scene);
}

static int nested_ptrace(const struct nj_scene *scene)
{
	return traced_child(scene, SIGCHLD);
}

static int nested_untraced(const struct nj_scene *scene)
{
	return traced_child(scene, CLONE_UNTRACED | SIGCHLD);
}

// -- Filters of the program's own ----

#define ANSWER(number, action)                                                              \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),              \
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),                          \
		BPF_STMT(BPF_RET | BPF_K, action), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int filter(uint32_t action, unsigned int flags)
{
	struct sock_filter code[] = { ANSWER(SYS_connect, action) };
	struct sock_fprog program = { COUNT(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

struct wait_on {
	const struct nj_scene *scene;
	int listener;
};

// Let the call that the listener was told of run, as it is.
static void *answer(void *argument)
{
	struct wait_on *wait_on = argument;
	struct seccomp_notif request = { 0 };
	struct seccomp_notif_resp response = { .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };

	if (ioctl(wait_on->listener, SECCOMP_IOCTL_NOTIF_RECV, &request) == 0) {
		response.id = request.id;
		ioctl(wait_on->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
	}
	return NULL;
}

static int own_listener(const struct nj_scene *scene)
{
	struct wait_on wait_on = { scene, filter(SECCOMP_RET_USER_NOTIF,
						 SECCOMP_FILTER_FLAG_NEW_LISTENER) };
	pthread_t thread;

	if (wait_on.listener < 0)
		return errno;
	// The thread has the filter too, and makes no call that it stops.
	if (pthread_create(&thread, NULL, answer, &wait_on))
		return EAGAIN;
	return nj_connect_to(scene->tcp);
}

static int own_filter(const struct nj_scene *scene)
{
	return filter(SECCOMP_RET_ALLOW, 0) < 0 ? errno : nj_connect_to(scene->tcp);
}

// A process that its tracer cannot read.
static int undumpable(const struct nj_scene *scene)
{
	if (prctl(PR_SET_DUMPABLE, 0))
		return errno;
	return nj_connect_to(scene->tcp);
}

static const struct nj_door rows[] = {
	{ "clone-untraced", untraced },
	{ "clone-silent", sibling },
	{ "clone3-untraced", clone3_untraced },
	{ "nested-ptrace", nested_ptrace },
	{ "nested-untraced", nested_untraced },
	{ "own-listener", own_listener },
	{ "own-filter", own_filter },
	{ "undumpable", undumpable },
};

const struct nj_doors nj_doors_process = { rows, COUNT(rows) };
