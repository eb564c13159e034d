// Stops and continues: the front does as the command does, and the other way round.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front.h"

// Fetch the command's last reports: 0 if there is none, else what the newest says.
// If a SIGCONT waits, or the caller has one, a report of a continue tells of its twin.
//
// The kernel keeps one: a SIGCONT voids the stop before it, and the other way round
// (prepare_signal() and do_signal_stop() in kernel/signal.c), so that none is stale.
static int look(struct front *front, bool waits)
{
	siginfo_t info = { 0 };
	int news = 0, pid = nj_command(front);
	bool went_on = false;

	while (pid && !waitid(P_PID, (id_t)pid, &info, WSTOPPED | WCONTINUED | WNOHANG) &&
	       info.si_pid) {
		news = info.si_code;
		went_on |= !front->ours && (news == CLD_CONTINUED || front->stopped);
		front->ours = false;
		front->stopped = news == CLD_STOPPED ? info.si_status : 0;
		info.si_pid = 0;
	}
	if (went_on)
		front->reached = waits || nj_pending() & BIT(SIGCONT);
	return news;
}

// Tell the supervisor up to which SIGCONT we know: it voids a stop of ours that is
// late, see relay.c.
static uint32_t promise(struct front *front)
{
	uint32_t continues = __atomic_load_n(&front->shared->continues, __ATOMIC_SEQ_CST);

	__atomic_store_n(&front->shared->mirrored, continues, __ATOMIC_SEQ_CST);
	return continues;
}

// Stop by `signal`, as its default action does; returns once continued, or at once
// where the kernel drops it: "orphaned process group" in setpgid(2).
//
// It is sent first and unblocked then: with one from outside that is pending it
// makes one stop, and a SIGCONT in between voids it.
static void stop_self(int signal)
{
	struct sigaction action = { .sa_handler = SIG_DFL }, before;
	bool set = signal != SIGSTOP && sigaction(signal, &action, &before) == 0;

	kill(getpid(), signal);
	nj_set_mask(SIG_UNBLOCK, BIT(signal));
	nj_set_mask(SIG_SETMASK, ALL);
	if (set)
		sigaction(signal, &before, NULL);
}

// Stop without the command.
void nj_stop_self(struct front *front, int signal)
{
	promise(front);
	stop_self(signal);
}

static bool from_supervisor(const struct front *front, const siginfo_t *info)
{
	return info->si_code <= 0 && info->si_pid == front->supervisor;
}

// Stop as the command did, unless a SIGCONT came.
static void stop_along(struct front *front)
{
	siginfo_t flushed = { .si_signo = SIGCONT };
	uint32_t known = promise(front);
	int signal;

	__atomic_store_n(&front->shared->stopping, 1, __ATOMIC_SEQ_CST);
	look(front, false);
	signal = front->stopped;
	if (signal && !(nj_pending() & BIT(SIGCONT))) {
		front->reached = false;
		stop_self(signal);
	}
	__atomic_store_n(&front->shared->stopping, 0, __ATOMIC_SEQ_CST);
	if (!signal || nj_pending() & BIT(SIGCONT))
		return;
	if (__atomic_load_n(&front->shared->continues, __ATOMIC_SEQ_CST) != known)
		// Our stop was late and void; who sent the SIGCONT is not known.
		nj_continued(front, &flushed);
	else if (signal == SIGTSTP)
		// Our group is orphaned, its own is not: natively the terminal's
		// stop would have been dropped. After SIGTTIN it would ask again.
		kill(nj_command(front), SIGCONT);
}

// The command stopped: so do we, that the shell sees it.
static void mirror(struct front *front)
{
	int pid = nj_command(front);
	bool own = nj_left(front), asked = BIT(front->stopped) & (BIT(SIGTTIN) | BIT(SIGTTOU));

	if (own && asked && nj_give_terminal(front->self, pid)) {
		kill(-pid, SIGCONT);
		return;
	}
	front->shared->lent = own && nj_foreground() == pid;
	stop_along(front);
}

// Whether the command had this SIGCONT as well, by what arrived there or was reported.
//
// It was sent after we took the one before it, since a second would not have been
// queued; what arrived earlier is not its twin.
static bool had(struct front *front, const siginfo_t *info)
{
	struct nj_shared *shared = front->shared;

	if (nj_pair(shared->seen, &shared->head, SIGCONT, nj_sender(info), NJ_ALONE,
		    front->last_continue))
		return true;
	if (front->reached)  // it is yet to arrive
		nj_note(shared->sent, &shared->sent_head, SIGCONT, nj_sender(info));
	return front->reached;
}

// A SIGCONT is dealt with.
static void settle(struct front *front)
{
	front->reached = false;
	front->last_continue = nj_clock();
}

// Wake a stopped command, and all that the terminal stopped with it.
static void wake(struct front *front, const siginfo_t *info)
{
	front->ours = front->stopped;
	if (nj_left(front))
		kill(-nj_command(front), SIGCONT);
	else
		nj_forward(front, info, false);
}

// SIGCONT came to us. Had it reached the command as well, there would be a report of
// a continue, or of another stop; that one may have come before or after.
void nj_continued(struct front *front, const siginfo_t *info)
{
	struct nj_shared *shared = front->shared;
	bool halted = __atomic_exchange_n(&shared->halted, 0, __ATOMIC_SEQ_CST);
	bool told = from_supervisor(front, info), was = front->stopped;
	int news = look(front, true), pid = nj_command(front);
	bool missed, twin;

	if (!pid)
		return;
	if (shared->lent && nj_left(front))
		nj_give_terminal(front->self, pid);
	missed = halted || (was && !news && !told);
	twin = !missed && (told || had(front, info));
	settle(front);
	if (missed || (front->stopped && !twin))
		wake(front, info);
	else if (!twin)
		nj_take(front, info);
	else if (front->stopped && !front->ours)
		mirror(front);
}

// A stop was reported; true if a SIGCONT followed it and the command goes on.
//
// SIGCHLD (17) is dequeued before SIGCONT (18), whichever came first. A SIGCONT that
// reached the command as well came before its stop: after it, it would have voided
// the report.
static bool resumed(struct front *front)
{
	siginfo_t info;

	if (!nj_dequeue(BIT(SIGCONT), false, &info))
		return false;
	if (!__atomic_load_n(&front->shared->halted, __ATOMIC_SEQ_CST) &&
	    (from_supervisor(front, &info) || had(front, &info))) {
		settle(front);
		return false;
	}
	nj_continued(front, &info);
	return true;
}

// Fetch the command's reports; stop if it stopped.
void nj_look(struct front *front)
{
	if (look(front, false) == CLD_STOPPED && !resumed(front))
		mirror(front);
}
