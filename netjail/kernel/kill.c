// Signals that a jailed program sends, where no Landlock domain keeps them inside:
// to a process of the jail they pass, to a group the supervisor sends them itself, to
// those of its processes that are the jail's.
//
// A pid is checked here and used by the kernel a moment later; it is another's only if
// its process is waited for in between and all pids were given away once.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relay.h"

// Who sends: what kill(2) asks of it.
struct sender {
	const struct nj_process *process;
	uint32_t uid;
	uint32_t euid;
};

// In a pid namespace of the jail's own, every process is the jail's; it has other
// numbers there.
bool nj_in_own_namespace(int32_t tid)
{
	struct stat ours, theirs;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", tid);
	return !stat("/proc/self/ns/pid", &ours) && !stat(path, &theirs) &&
	       (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev);
}

// Whether nothing of the process is left but its status. A leader that ended before its
// threads is a zombie as well, by its state.
static bool is_dead(int32_t pid)
{
	char path[32], line[128];
	int threads = 0;
	char state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "State: %c", &state);
		sscanf(line, "Threads: %d", &threads);
	}
	if (file)
		fclose(file);
	return state == 'X' || (state == 'Z' && threads <= 1);
}

static int read_ids(int32_t tid, uint32_t *uid, uint32_t *euid, uint32_t *suid)
{
	char path[32], line[128];
	int found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (found != 3 && fgets(line, sizeof(line), file))
		found = sscanf(line, "Uid: %u %u %u", uid, euid, suid);
	fclose(file);
	return found == 3 ? 0 : -ESRCH;
}

// kill_ok_by_cred() in kernel/signal.c.
static bool may_signal(const struct sender *sender, const struct nj_process *process)
{
	uint32_t uid, euid, suid;

	if (process == sender->process)
		return true;
	if (read_ids(process->pid, &uid, &euid, &suid) < 0)
		return false;
	return !sender->euid || sender->euid == suid || sender->euid == uid ||
	       sender->uid == suid || sender->uid == uid;
}

// SI_QUEUE, because the kernel lets nobody else's signal come with SI_USER
// (rt_sigqueueinfo(2)); it becomes SI_USER again where it arrives.
static void send_as(const struct sender *sender, int32_t pid, int signal)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = signal;
	info.si_errno = (int)NJ_MARK_GROUP;
	info.si_code = SI_QUEUE;
	info.si_pid = sender->process->pid;
	info.si_uid = sender->uid;
	// EAGAIN: too many are queued, RLIMIT_SIGPENDING; kill(2) needs no room.
	if (signal && syscall(SYS_rt_sigqueueinfo, pid, signal, &info) < 0 && errno != ESRCH)
		kill(pid, signal);
}

// At the signal's stop: undo the above, so that a handler sees what kill(2) would give.
int nj_signal_unmark(int32_t tid)
{
	siginfo_t info;

	if (ptrace(PTRACE_GETSIGINFO, tid, 0, &info) < 0)
		return -errno;
	if (info.si_code != SI_QUEUE || (uint32_t)info.si_errno != NJ_MARK_GROUP)
		return 0;
	info.si_code = SI_USER;
	info.si_errno = 0;
	return ptrace(PTRACE_SETSIGINFO, tid, 0, &info) < 0 ? -errno : 0;
}

// Signal the jail's processes of a group, or with -1 all but the caller; *ret_some:
// there was one.
static int send_to(struct nj_jail *jail, struct nj_task *task, int32_t group, int signal,
		   bool *ret_some)
{
	struct sender sender = { .process = task->process };
	uint32_t suid;
	int error = read_ids(task->tid, &sender.uid, &sender.euid, &suid);

	*ret_some = false;
	for (uint32_t i = 0; i < NJ_BUCKETS && !error; i++)
		for (struct nj_task *other = jail->buckets[i]; other; other = other->next) {
			const struct nj_process *process = other->process;

			if (other->tid != process->pid)
				continue;
			if (group < 0 ? process == task->process : getpgid(other->tid) != group)
				continue;
			if (!may_signal(&sender, process))
				continue;
			send_as(&sender, process->pid, signal);
			*ret_some = true;
		}
	return error;
}

// kill(2) with 0, -1 or a group's number negated.
static int to_group(struct nj_jail *jail, struct nj_task *task, int32_t pid, int signal)
{
	int32_t group = pid == -1 ? -1 : pid ? -pid : getpgid(task->tid);
	bool some;
	int error;

	if (pid && nj_in_own_namespace(task->tid))
		return nj_run(task);
	if (pid == INT_MIN)
		return nj_refuse(jail, task, ESRCH);
	error = send_to(jail, task, group, signal, &some);
	if (error)
		return nj_refuse(jail, task, EPERM);
	// To all: the kernel says so too when it may signal none of them.
	if (some || group < 0)
		return nj_finish(task, 0);
	return nj_refuse(jail, task, kill(-group, 0) < 0 && errno == ESRCH ? ESRCH : EPERM);
}

// Whether a group is the jail's own: its leader's number says who made it.
static bool is_inside(struct nj_jail *jail, int32_t pid)
{
	if (pid >= 0)
		return nj_task_find(jail, pid);
	return pid != INT_MIN && nj_task_find(jail, -pid) && getpgid(-pid) == -pid;
}

// A call that signals, or has signalled, who is in `name`.
int nj_signal_call(struct nj_jail *jail, struct nj_task *task)
{
	const struct nj_row *row = nj_row_of(jail, task);
	const uint64_t *args = nj_args_of(task);
	int32_t pid = (int32_t)args[row->name];

	if (row->flags >= 0 && pid <= 0) {
		if ((uint32_t)args[row->flags] >= NSIG)
			return nj_run(task);  // EINVAL
		return to_group(jail, task, pid, (int)args[row->flags]);
	}
	if (!pid || is_inside(jail, pid) || nj_in_own_namespace(task->tid))
		return nj_run(task);
	if (pid < 0)
		return nj_refuse(jail, task, EPERM);
	if (is_dead(pid))
		return nj_run(task);
	return nj_refuse(jail, task, kill(pid, 0) < 0 && errno == ESRCH ? ESRCH : EPERM);
}
