// Signals that came to the front, on their way to the command.
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "front.h"

// From the terminal's driver to its whole foreground group (drivers/tty/).
#define TERMINAL                                                                        \
	(BIT(SIGHUP) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGTSTP) | BIT(SIGTTIN) |       \
	 BIT(SIGTTOU) | BIT(SIGWINCH) | BIT(SIGCONT))
// From the kernel about what this very process used; the command has its own
// limits and timers for these.
#define USAGE (BIT(SIGXCPU) | BIT(SIGXFSZ) | BIT(SIGVTALRM) | BIT(SIGPROF))
#define ENDS (BIT(SIGHUP) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGTERM))

// Send `info` on. SI_QUEUE, because the kernel lets nobody else's signal come with
// SI_USER (rt_sigqueueinfo(2)); the supervisor puts the sender's si_code back.
void nj_forward(struct front *front, const siginfo_t *info, bool twin)
{
	struct nj_shared *shared = front->shared;
	int signal = info->si_signo, pid = nj_command(front);
	siginfo_t copy = *info;
	uint32_t index;

	// A stop signal that SIGCONT followed is void, and would void the SIGCONT.
	if (STOPS & BIT(signal) && nj_pending() & BIT(SIGCONT))
		return;
	if (twin && nj_pair(shared->seen, &shared->head, signal, nj_sender(info), NJ_ALONE, 0))
		return;
	index = nj_note(shared->sent, &shared->sent_head, signal, nj_sender(info));
	copy.si_errno = (int)(NJ_MARK | (uint32_t)(uint8_t)info->si_code << 16 | (index & 0xffff));
	copy.si_code = SI_QUEUE;
	copy.si_pid = nj_sender(info);
	// EAGAIN: too many are queued, RLIMIT_SIGPENDING; kill(2) needs no room.
	if (syscall(SYS_rt_sigqueueinfo, pid, signal, &copy) < 0 && errno != ESRCH)
		kill(pid, signal);
}

// The command is no more, or in a session of its own: what is left are orphans.
static void alone(struct front *front, int signal)
{
	if (BIT(signal) & ENDS & ~front->ignored) {
		__atomic_store_n(&front->shared->give_up, 1, __ATOMIC_SEQ_CST);
		kill(front->supervisor, SIGALRM);
	} else if (BIT(signal) & STOPS) {
		nj_stop_self(front, signal);
	}
}

// The kernel's own signal: did it reach the command, and would it have natively?
static void from_kernel(struct front *front, const siginfo_t *info)
{
	int pid = nj_command(front), session = getsid(0);
	uint64_t bit = BIT(info->si_signo);

	if (bit & USAGE)
		return;
	// Before the fork only we were there; after it the command has its twin. A
	// hang-up goes to the session's leader, in the foreground or not:
	// tty_signal_session_leader() in drivers/tty/tty_jobctrl.c.
	if (!(bit & TERMINAL) || bit & front->early ||
	    (bit & (BIT(SIGHUP) | BIT(SIGCONT)) && session == front->self))
		nj_forward(front, info, true);
	else if (nj_left(front))
		kill(-pid, info->si_signo);
	else if (getsid(pid) != session)
		alone(front, info->si_signo);
	front->early &= ~bit;
}

// A signal for the command. Positive codes but SI_KERNEL speak of something that
// this process did or owns.
void nj_take(struct front *front, const siginfo_t *info)
{
	if (!nj_command(front))
		alone(front, info->si_signo);
	else if (info->si_code == SI_KERNEL)
		from_kernel(front, info);
	else if (info->si_code <= 0)
		nj_forward(front, info, true);
}
