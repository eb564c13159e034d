// The supervisor's half of the front: which signal is a duplicate, which stop of
// the one is a stop of the other, who holds the terminal.
//
// A signal sent to the front is forwarded to the command; one sent to their whole
// group, kill(-pgid), reaches both by itself and is forwarded all the same, since
// nothing in siginfo_t tells the two apart. __kill_pgrp_info() in kernel/signal.c
// queues to each member in turn under tasklist_lock, in no promised order. So, of
// the original O and the forwarded F of one kill(2), the command may get
//   O, then F       the front notes F in `sent`, then sends it;
//   F, then O       the front was queued first and ran at once;
//   O alone         a standard signal that is pending is not queued again.
// The command's signal-delivery-stops come one by one to one place, nj_arrived():
//   O arrives, F is noted     they are a pair: deliver O; F will find its note taken;
//   O arrives, nothing noted  deliver it, and write it to `seen`;
//   F arrives, its note taken, or O in `seen`   drop F;
//   F arrives otherwise       deliver it, and leave the note as DELIVERED;
//   O arrives, F was DELIVERED                  drop O.
// The front looks at `seen` as well before it sends, so that most F never are. A
// note that never arrives (its F met one pending from elsewhere) dies of age.
// What remains: sigwait(3) and signalfd(2) take a signal with no such stop, so that
// a program that reads its signals there may get O and F of a kill(-pgid).
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "relay.h"

// How long the halves of a pair may be apart, in nanoseconds.
#define APART 1000000000ULL

uint64_t nj_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

// Write to a ring; only its owner does. Returns the entry's index.
uint32_t nj_note(struct nj_seen *ring, uint32_t *head, int signal, int sender)
{
	uint32_t index = *head;
	struct nj_seen *entry = &ring[index % NJ_RING];

	entry->signal = signal;
	entry->sender = sender;
	entry->when = nj_clock();
	__atomic_store_n(&entry->taken, NJ_ALONE, __ATOMIC_RELAXED);
	__atomic_store_n(head, index + 1, __ATOMIC_SEQ_CST);
	return index;
}

static bool take(struct nj_seen *entry, int from)
{
	return __atomic_compare_exchange_n(&entry->taken, &from, NJ_PAIRED, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

// Take the newest entry of this signal and sender that is in state `from`, and was
// written after `since`.
bool nj_pair(struct nj_seen *ring, const uint32_t *head, int signal, int sender, int from,
	     uint64_t since)
{
	uint32_t next = __atomic_load_n(head, __ATOMIC_SEQ_CST);
	uint64_t now = nj_clock();

	for (uint32_t age = 1; age <= NJ_RING && age <= next; age++) {
		struct nj_seen *entry = &ring[(next - age) % NJ_RING];

		if (entry->when < since || entry->when + APART < now)
			return false;
		if (entry->signal == signal && entry->sender == sender && take(entry, from))
			return true;
	}
	return false;
}

// Undo what the front did to siginfo_t, so that a handler sees the sender's own.
static int unmark(int tid, siginfo_t *info)
{
	int8_t code = (int8_t)(info->si_errno >> 16);

	// SI_KERNEL is 0x80, the one positive code that is forwarded.
	info->si_code = code == INT8_MIN ? SI_KERNEL : code;
	info->si_errno = 0;
	return ptrace(PTRACE_SETSIGINFO, tid, 0, info) < 0 ? -errno : 0;
}

static bool forwarded_twin(struct nj_shared *shared, const siginfo_t *info, uint32_t index)
{
	struct nj_seen *note = &shared->sent[index % NJ_RING];
	bool same = note->signal == info->si_signo && note->sender == info->si_pid;
	int32_t alone = NJ_ALONE;

	if (same && __atomic_load_n(&note->taken, __ATOMIC_SEQ_CST) == NJ_PAIRED)
		return true;
	if (nj_pair(shared->seen, &shared->head, info->si_signo, info->si_pid, NJ_ALONE, 0)) {
		if (same)
			__atomic_store_n(&note->taken, NJ_PAIRED, __ATOMIC_SEQ_CST);
		return true;
	}
	if (same)
		__atomic_compare_exchange_n(&note->taken, &alone, NJ_DELIVERED, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return false;
}

static bool original_twin(struct nj_shared *shared, const siginfo_t *info)
{
	int signal = info->si_signo, sender = info->si_code > 0 ? 0 : info->si_pid;

	if (nj_pair(shared->sent, &shared->sent_head, signal, sender, NJ_ALONE, 0))
		return false;
	if (nj_pair(shared->sent, &shared->sent_head, signal, sender, NJ_DELIVERED, 0))
		return true;
	nj_note(shared->seen, &shared->head, signal, sender);
	return false;
}

// A signal-delivery-stop of a thread of the command: *ret is 1 if the signal is to
// be delivered, 0 if it is the second half of a pair.
int nj_arrived(struct nj_shared *shared, int tid, int *ret)
{
	siginfo_t info;
	uint32_t mark;
	int error;

	*ret = 1;
	if (ptrace(PTRACE_GETSIGINFO, tid, 0, &info) < 0)
		return -errno;
	mark = (uint32_t)info.si_errno;
	// Only these can have been sent to a group or be the front's.
	if (info.si_code > 0 ? info.si_code != SI_KERNEL : info.si_code == SI_TKILL)
		return 0;
	if ((mark & NJ_MARK_BITS) != NJ_MARK) {
		*ret = !original_twin(shared, &info);
		return 0;
	}
	error = unmark(tid, &info);
	*ret = !forwarded_twin(shared, &info, mark & 0xffff);
	return error;
}

static bool group_stop(int signal)
{
	return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

// Whether the front, about to stop as the command did, is late: a SIGCONT came since
// it decided to, and its own stop signal flushed that (prepare_signal() in
// kernel/signal.c). A seized process stops for us at each SIGCONT, flushed or not,
// and does so before it takes a signal: ptrace_trap_notify() and get_signal().
static bool late(const struct nj_shared *shared)
{
	return __atomic_load_n(&shared->mirrored, __ATOMIC_SEQ_CST) != shared->continues;
}

// Pass on the signal that the front is about to receive. It blocks all that it can:
// what comes is SIGSTOP, or the stop signal that it sends itself.
static int front_signal(struct nj_shared *shared, int front, int signal)
{
	siginfo_t info;

	if (ptrace(PTRACE_GETSIGINFO, front, 0, &info) < 0)
		return -errno;
	if (group_stop(signal) && info.si_code <= 0 && info.si_pid == front) {
		if (late(shared))
			signal = 0;
	} else if (signal == SIGSTOP && shared->command > 0 && shared->held >= 0) {
		// Before the front stops: whatever continues it comes after, so
		// that its SIGCONT to the command comes after this SIGSTOP.
		shared->lent = nj_foreground() == shared->command;
		__atomic_store_n(&shared->halted, 1, __ATOMIC_SEQ_CST);
		kill(shared->command, SIGSTOP);
	}
	return ptrace(PTRACE_CONT, front, 0, signal) < 0 ? -errno : 0;
}

// A wait status of the front, seized with no options, for its stops only: do what
// it asks for and resume it. ESRCH: it was killed.
int nj_front_stopped(struct nj_shared *shared, int front, int status)
{
	int request = PTRACE_CONT;

	if (!WIFSTOPPED(status))
		return 0;
	if (status >> 16 != PTRACE_EVENT_STOP)
		return front_signal(shared, front, WSTOPSIG(status));
	// PTRACE_LISTEN leaves it stopped: "Group-stop" in ptrace(2). The other
	// PTRACE_EVENT_STOP, with SIGTRAP, tells of a SIGCONT.
	if (group_stop(WSTOPSIG(status)))
		request = PTRACE_LISTEN;
	else
		__atomic_add_fetch(&shared->continues, 1, __ATOMIC_SEQ_CST);
	return ptrace(request, front, 0, 0) < 0 ? -errno : 0;
}

static bool front_stops(const struct nj_shared *shared)
{
	return __atomic_load_n(&shared->stopping, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&shared->halted, __ATOMIC_SEQ_CST);
}

// A PTRACE_EVENT_STOP of the command's leader, or its end: a command that goes on
// takes the front along, whoever continued it; its shell must not wait for ever.
//
// A front that is not yet `stopping` will look once more, and see it.
int nj_command_changed(struct nj_shared *shared, int front, int status)
{
	bool lives = WIFSTOPPED(status), held = lives && group_stop(WSTOPSIG(status));
	bool was = shared->held;

	shared->held = lives ? held : -1;
	if (held || (lives && !(was && front_stops(shared))))
		return 0;
	return kill(front, SIGCONT) < 0 ? -errno : 0;
}

// Whether the command left for a group of its own although a shell's job control
// thinks that it leads its job: the front is what the shell made the leader, and
// natively setpgid(0, 0) of a leader changes nothing. timeout(1) does it.
bool nj_own_group(int front, int command)
{
	return getpgid(front) == front && getpgid(command) == command &&
	       getsid(front) == getsid(command);
}

// The terminal's foreground group, -1 without a terminal.
int nj_foreground(void)
{
	int tty = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	int group;

	if (tty < 0)
		return -1;
	group = tcgetpgrp(tty);
	close(tty);
	return group;
}

// Make `group` the foreground instead of the front's; true if it is afterwards.
bool nj_give_terminal(int front, int group)
{
	int tty = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	sigset_t stop, before;
	int now;

	if (tty < 0)
		return false;
	now = tcgetpgrp(tty);
	// From a background group, only with SIGTTOU blocked: tcsetpgrp(3).
	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU);
	sigprocmask(SIG_BLOCK, &stop, &before);
	if (now == front && tcsetpgrp(tty, group) == 0)
		now = group;
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(tty);
	return now == group;
}

// A signal-delivery-stop with SIGTTIN or SIGTTOU of any tracee: *ret is 1 if the
// signal is void, because natively its group would be the foreground. The call
// that asked for the terminal runs again and has it.
int nj_lend_terminal(int front, int command, int tid, int *ret)
{
	siginfo_t info;

	*ret = 0;
	if (ptrace(PTRACE_GETSIGINFO, tid, 0, &info) < 0)
		return -errno;
	if (info.si_code == SI_KERNEL && command > 0 && getpgid(tid) == command &&
	    nj_own_group(front, command))
		*ret = nj_give_terminal(front, command);
	return 0;
}
