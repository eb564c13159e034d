// Sources put back: sources.c.
#ifndef NJ_SOURCES_H
#define NJ_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#define NJ_SOURCES 16  // name servers that can be stood in for

// Whether a process has the filter of sources.c; a child has what its parent had.
enum nj_sources {
	NJ_SOURCES_NOT_YET,
	NJ_SOURCES_SHOWN,
	NJ_SOURCES_NEVER,  // it cannot be put in place
};

struct nj_jail;
struct nj_task;
void nj_sources_lay_out(struct nj_jail *jail);
uint64_t nj_sources_program(uint32_t word);
bool nj_receives(const struct nj_task *task);
int nj_receive(struct nj_task *task);
int nj_received(struct nj_jail *jail, struct nj_task *task);

#endif
