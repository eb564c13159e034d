// What is asked of the descriptors of tracees.
#ifndef NJ_DESCRIPTOR_H
#define NJ_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

#define NJ_NOTHING_LENT INT32_MIN

struct nj_jail;
struct nj_task;
struct nj_descriptor;

// What a task lends, or has lent, for the call under way.
struct nj_lending {
	bool under_way;      // the injection fetches a descriptor, not the vault
	bool unjudged;       // the call comes again from there, and nobody was asked yet
	int32_t lent;        // what it gave: ours, or -errno
	int32_t channel[2];  // ours and the tracee's end
	uint64_t address;    // of the message, in the vault
};

// descriptor.c
int nj_duplicate(struct nj_task *task, uint32_t fd);
void nj_describe(struct nj_task *task, uint32_t fd, struct nj_descriptor *ret,
		 int32_t *ret_duplicate);

// lend.c
bool nj_must_lend(void);
int nj_lend(struct nj_jail *jail, struct nj_task *task, uint32_t fd);
void nj_lend_sent(struct nj_jail *jail, struct nj_task *task, int64_t result);
void nj_lend_end(struct nj_task *task);
int nj_lent(struct nj_task *task, uint32_t fd);
void nj_lend_begun(struct nj_task *task);
void nj_lend_forget(struct nj_task *task);

#endif
