// What the parts of the front share: front.c runs it, forward.c sends signals on,
// mirror.c stops and goes on with the command.
#ifndef NJ_FRONT_H
#define NJ_FRONT_H

#include <signal.h>

#include "relay.h"

// Signal sets are the kernel's 64 bits: glibc's sigset_t functions leave out 32
// and 33, which it keeps for its threads; somebody may send them.
#define ALL (~0ULL)
#define BIT(signal) (1ULL << ((signal) - 1))
#define STOPS (BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))

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

// front.c
uint64_t nj_set_mask(int how, uint64_t set);
bool nj_dequeue(uint64_t set, bool wait, siginfo_t *ret);
uint64_t nj_pending(void);
int nj_command(const struct front *front);
bool nj_left(const struct front *front);
int nj_sender(const siginfo_t *info);

// forward.c
void nj_forward(struct front *front, const siginfo_t *info, bool twin);
void nj_take(struct front *front, const siginfo_t *info);

// mirror.c
void nj_stop_self(struct front *front, int signal);
void nj_look(struct front *front);
void nj_continued(struct front *front, const siginfo_t *info);

#endif
