// The front: the process that the shell started, and what stands for the command
// as seen from outside. It is the command's parent, forwards the signals that come,
// stops and goes on with it, and waits for the supervisor to end.
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay.h"

// Signal sets are the kernel's 64 bits: glibc's sigset_t functions leave out 32
// and 33, which it keeps for its threads; somebody may send them.
#define ALL (~0ULL)
#define BIT(signal) (1ULL << ((signal) - 1))

// From the terminal's driver to its whole foreground group (drivers/tty/).
#define TERMINAL                                                                        \
	(BIT(SIGHUP) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGTSTP) | BIT(SIGTTIN) |       \
	 BIT(SIGTTOU) | BIT(SIGWINCH) | BIT(SIGCONT))
// From the kernel about what this very process used; the command has its own
// limits and timers for these.
#define USAGE (BIT(SIGXCPU) | BIT(SIGXFSZ) | BIT(SIGVTALRM) | BIT(SIGPROF))
#define STOPS (BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))
#define ENDS (BIT(SIGHUP) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGTERM))

static const struct timespec AT_ONCE = { 0 };

struct front {
	struct nj_shared *shared;
	int self;
	int supervisor;
	bool gone;         // the command ended, and we waited for it
	int stopped;       // the signal that stopped the command, by its last report
	bool ours;         // the next report of a continue will be our doing
	uint64_t last_continue;  // when we got a SIGCONT
	bool reached;      // the SIGCONT that waits here has reached the command, too
	uint64_t early;    // may have been sent by the terminal before the command's fork
	uint64_t ignored;  // as we were started: nohup(1), `&` of a plain shell
};

int nj_shared_new(struct nj_shared **ret)
{
	void *page = mmap(NULL, sizeof(**ret), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	*ret = page;
	return 0;
}

static uint64_t set_mask(int how, uint64_t set)
{
	uint64_t before = 0;

	syscall(SYS_rt_sigprocmask, how, &set, &before, sizeof(set));
	return before;
}

// Take the lowest signal of `set` that comes within `timeout`, NULL for ever.
static bool dequeue(uint64_t set, siginfo_t *ret, const struct timespec *timeout)
{
	return syscall(SYS_rt_sigtimedwait, &set, ret, timeout, sizeof(set)) > 0;
}

static uint64_t pending(void)
{
	uint64_t set = 0;

	syscall(SYS_rt_sigpending, &set, sizeof(set));
	return set;
}

// The command's pid while it can be signalled, else 0. It stays ours until we wait
// for it, so that the pid cannot have been given to another.
static int command(const struct front *front)
{
	return front->gone ? 0 : __atomic_load_n(&front->shared->command, __ATOMIC_ACQUIRE);
}

// Whether the command left our group for one that natively would be the same.
static bool own_group(const struct front *front)
{
	return nj_own_group(front->self, command(front));
}

// Fetch the command's last reports: 0 if there is none, else what the newest says.
// If a SIGCONT waits, or the caller has one, a report of a continue tells of its twin.
//
// The kernel keeps one: a SIGCONT voids the stop before it, and the other way round
// (prepare_signal() and do_signal_stop() in kernel/signal.c), so that none is stale.
static int look(struct front *front, bool waits)
{
	siginfo_t info = { 0 };
	int news = 0, pid = command(front);
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
		front->reached = waits || pending() & BIT(SIGCONT);
	return news;
}

// Wait for children that ended; true when the supervisor did.
//
// The command shows here only after its tracer waited for it. Children of the
// command that it made with CLONE_PARENT are ours as well.
static bool reap(struct front *front)
{
	siginfo_t info = { 0 };
	bool over = false;

	while (!waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL)) {
		if (!info.si_pid)
			return over;
		over |= info.si_pid == front->supervisor;
		front->gone |= info.si_pid == command(front);
		info.si_pid = 0;
	}
	return true;  // ECHILD: nobody is left to wait for
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
	set_mask(SIG_UNBLOCK, BIT(signal));
	set_mask(SIG_SETMASK, ALL);
	if (set)
		sigaction(signal, &before, NULL);
}

// Who sent it; 0 for the kernel, which leaves si_pid to mean other things.
static int sender(const siginfo_t *info)
{
	return info->si_code > 0 ? 0 : info->si_pid;
}

// Send `info` on. SI_QUEUE, because the kernel lets nobody else's signal come with
// SI_USER (rt_sigqueueinfo(2)); the supervisor puts the sender's si_code back.
static void forward(struct front *front, const siginfo_t *info, bool twin)
{
	struct nj_shared *shared = front->shared;
	int signal = info->si_signo, pid = command(front);
	siginfo_t copy = *info;
	uint32_t index;

	if (twin && nj_pair(shared->seen, &shared->head, signal, sender(info), NJ_ALONE, 0))
		return;
	index = nj_note(shared->sent, &shared->sent_head, signal, sender(info));
	copy.si_errno = (int)(NJ_MARK | (uint32_t)(uint8_t)info->si_code << 16 | (index & 0xffff));
	copy.si_code = SI_QUEUE;
	copy.si_pid = sender(info);
	// A stop signal that SIGCONT followed is void, and would void the SIGCONT.
	if (STOPS & BIT(signal) && pending() & BIT(SIGCONT))
		return;
	// EAGAIN: too many are queued, RLIMIT_SIGPENDING; kill(2) needs no room.
	if (syscall(SYS_rt_sigqueueinfo, pid, signal, &copy) < 0 && errno != ESRCH)
		kill(pid, signal);
}

// Tell the supervisor up to which SIGCONT we know: it voids a stop of ours that is
// late, see relay.c.
static uint32_t promise(struct front *front)
{
	uint32_t continues = __atomic_load_n(&front->shared->continues, __ATOMIC_SEQ_CST);

	__atomic_store_n(&front->shared->mirrored, continues, __ATOMIC_SEQ_CST);
	return continues;
}

// The command is no more, or in a session of its own: what is left are orphans.
static void alone(struct front *front, int signal)
{
	if (BIT(signal) & ENDS & ~front->ignored) {
		__atomic_store_n(&front->shared->give_up, 1, __ATOMIC_SEQ_CST);
		kill(front->supervisor, SIGALRM);
	} else if (BIT(signal) & STOPS) {
		promise(front);
		stop_self(signal);
	}
}

// The kernel's own signal: did it reach the command, and would it have natively?
static void from_kernel(struct front *front, const siginfo_t *info)
{
	int pid = command(front), session = getsid(0);
	uint64_t bit = BIT(info->si_signo);

	if (bit & USAGE)
		return;
	// Before the fork only we were there; after it the command has its twin. A
	// hang-up goes to the session's leader, in the foreground or not:
	// tty_signal_session_leader() in drivers/tty/tty_jobctrl.c.
	if (!(bit & TERMINAL) || bit & front->early ||
	    (bit & (BIT(SIGHUP) | BIT(SIGCONT)) && session == front->self))
		forward(front, info, true);
	else if (own_group(front))
		kill(-pid, info->si_signo);
	else if (getsid(pid) != session)
		alone(front, info->si_signo);
	front->early &= ~bit;
}

static bool from_supervisor(const struct front *front, const siginfo_t *info)
{
	return info->si_code <= 0 && info->si_pid == front->supervisor;
}

// A signal for the command. Positive codes but SI_KERNEL speak of something that
// this process did or owns.
static void relay(struct front *front, const siginfo_t *info)
{
	if (!command(front))
		alone(front, info->si_signo);
	else if (info->si_code == SI_KERNEL)
		from_kernel(front, info);
	else if (info->si_code <= 0)
		forward(front, info, true);
}

static void go_on(struct front *front, const siginfo_t *info);

// Stop as the command did, unless a SIGCONT came.
static void stop_along(struct front *front)
{
	siginfo_t flushed = { .si_signo = SIGCONT };
	uint32_t known = promise(front);
	int signal;

	__atomic_store_n(&front->shared->stopping, 1, __ATOMIC_SEQ_CST);
	look(front, false);
	signal = front->stopped;
	if (signal && !(pending() & BIT(SIGCONT))) {
		front->reached = false;
		stop_self(signal);
	}
	__atomic_store_n(&front->shared->stopping, 0, __ATOMIC_SEQ_CST);
	if (!signal || pending() & BIT(SIGCONT))
		return;
	if (__atomic_load_n(&front->shared->continues, __ATOMIC_SEQ_CST) != known)
		// Our stop was late and void; who sent the SIGCONT is not known.
		go_on(front, &flushed);
	else if (signal == SIGTSTP)
		// Our group is orphaned, its own is not: natively the terminal's
		// stop would have been dropped. After SIGTTIN it would ask again.
		kill(command(front), SIGCONT);
}

// The command stopped: so do we, that the shell sees it.
static void mirror(struct front *front)
{
	int pid = command(front);
	bool own = own_group(front), asked = BIT(front->stopped) & (BIT(SIGTTIN) | BIT(SIGTTOU));

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

	if (nj_pair(shared->seen, &shared->head, SIGCONT, sender(info), NJ_ALONE,
		    front->last_continue))
		return true;
	if (front->reached)  // it is yet to arrive
		nj_note(shared->sent, &shared->sent_head, SIGCONT, sender(info));
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
	if (own_group(front))
		kill(-command(front), SIGCONT);
	else
		forward(front, info, false);
}

// SIGCONT came to us. Had it reached the command as well, there would be a report of
// a continue, or of another stop; that one may have come before or after.
static void go_on(struct front *front, const siginfo_t *info)
{
	struct nj_shared *shared = front->shared;
	bool halted = __atomic_exchange_n(&shared->halted, 0, __ATOMIC_SEQ_CST);
	bool told = from_supervisor(front, info), was = front->stopped;
	int news = look(front, true), pid = command(front);
	bool missed, twin;

	if (!pid)
		return;
	if (shared->lent && own_group(front))
		nj_give_terminal(front->self, pid);
	missed = halted || (was && !news && !told);
	twin = !missed && (told || had(front, info));
	settle(front);
	if (missed || (front->stopped && !twin))
		wake(front, info);
	else if (!twin)
		relay(front, info);
	else if (front->stopped && !front->ours)
		mirror(front);
}

// A stop was reported; true if a SIGCONT followed it and the command goes on.
//
// SIGCHLD (17) is dequeued before SIGCONT (18), whichever came first. A SIGCONT that
// reached the command as well came before its stop: after it, it would have voided
// the report.
static bool continued(struct front *front)
{
	siginfo_t info;

	if (!dequeue(BIT(SIGCONT), &info, &AT_ONCE))
		return false;
	if (!__atomic_load_n(&front->shared->halted, __ATOMIC_SEQ_CST) &&
	    (from_supervisor(front, &info) || had(front, &info))) {
		settle(front);
		return false;
	}
	go_on(front, &info);
	return true;
}

// Something happened to a child; true when the supervisor ended.
static bool children(struct front *front)
{
	if (reap(front))
		return true;
	if (look(front, false) == CLD_STOPPED && !continued(front))
		mirror(front);
	return false;
}

static bool from_child(const siginfo_t *info)
{
	return info->si_signo == SIGCHLD ||
	       (info->si_code >= CLD_EXITED && info->si_code <= CLD_CONTINUED);
}

static void loop(struct front *front)
{
	bool over = children(front);
	siginfo_t info;

	while (!over) {
		// EINTR: we were stopped and continued, signal(7).
		if (!dequeue(ALL, &info, NULL))
			continue;
		if (from_child(&info))
			over = children(front);
		else if (info.si_signo == SIGCONT)
			go_on(front, &info);
		else
			relay(front, &info);
	}
	// What is left was for the command, not for how we leave.
	while (dequeue(ALL, &info, &AT_ONCE))
		;
}

static uint64_t ignored(void)
{
	uint64_t set = 0;

	for (int signal = 1; signal < SIGRTMIN; signal++) {
		struct sigaction action;

		if (!sigaction(signal, NULL, &action) && action.sa_handler == SIG_IGN)
			set |= BIT(signal);
	}
	return set;
}

// Stand for the command until the supervisor ends.
//
// The caller has one thread, holds its signals back since before it forked, and
// has written the command's pid to *shared.
//
// Returns 0 and how to leave: an exit code, or a signal's number negated; -ECHILD
// if the supervisor ended without saying.
int nj_front(struct nj_shared *shared, int supervisor, int *ret)
{
	// Ignored, SIGCHLD would reap the children and tell of no stop: wait(2).
	struct sigaction action = { .sa_handler = SIG_DFL }, before;
	struct front front = { .shared = shared, .self = getpid(), .supervisor = supervisor };
	uint64_t mask = set_mask(SIG_SETMASK, ALL);

	front.early = pending();
	front.ignored = ignored();
	sigaction(SIGCHLD, &action, &before);
	loop(&front);
	sigaction(SIGCHLD, &before, NULL);
	set_mask(SIG_SETMASK, mask);
	if (!__atomic_load_n(&shared->ended, __ATOMIC_ACQUIRE))
		return -ECHILD;
	*ret = shared->exit_signal > 0 ? -shared->exit_signal : shared->exit_code;
	return 0;
}

// End by `signal` as the command did; its core file is the one that counts.
void nj_leave(int signal)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	// A core_pattern that is a pipe does not ask for the limit: core(5).
	prctl(PR_SET_DUMPABLE, 0);
	sigaction(signal, &action, NULL);
	kill(getpid(), signal);
	set_mask(SIG_UNBLOCK, BIT(signal));
	// The init of a pid namespace is deaf to its own signals: pid_namespaces(7).
	_exit(128 + signal);
}
