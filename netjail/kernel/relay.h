// Pairs of signals and the terminal's group: what front.c and relay.c share.
#ifndef NJ_RELAY_H
#define NJ_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "core.h"

#define NJ_RING 64

// A forwarded signal carries its origin in si_errno, which the kernel hands on
// and nobody uses: 'N', the sender's si_code, the index of its note in `sent`.
#define NJ_MARK 0x4e000000U
#define NJ_MARK_BITS 0xff000000U
// One that the supervisor sent in the place of a jailed kill(2), see kill.c.
#define NJ_MARK_GROUP 0x47000000U

enum { NJ_ALONE, NJ_PAIRED, NJ_DELIVERED };  // nj_seen.taken

uint64_t nj_clock(void);
uint32_t nj_note(struct nj_seen *ring, uint32_t *head, int signal, int sender);
bool nj_pair(struct nj_seen *ring, const uint32_t *head, int signal, int sender, int from,
	     uint64_t since);
bool nj_own_group(int front, int command);
int nj_foreground(void);
bool nj_give_terminal(int front, int group);

#endif
