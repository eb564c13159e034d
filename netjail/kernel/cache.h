// Verdicts that need not be asked for again: cache.c.
#ifndef NJ_CACHE_H
#define NJ_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#define NJ_CACHE_SETS 512
#define NJ_CACHE_WAYS 2
#define NJ_CACHED_NAME 32

// A verdict that holds for the same bytes from the same image until the end.
struct nj_cached {
	uint64_t process;
	uint64_t netns;
	uint64_t token;      // 0: empty
	uint64_t count;      // attempts since the last drain
	int32_t error;       // 0: allow
	int32_t row;
	int32_t kind[3];
	uint32_t flags;
	uint32_t name_size;
	uint8_t name[NJ_CACHED_NAME];
};

struct nj_jail;
struct nj_task;
struct nj_cached *nj_cache_find(struct nj_jail *jail, const struct nj_task *task, bool any);
void nj_forgone(struct nj_jail *jail, struct nj_task *task);
void nj_unpinned(struct nj_jail *jail, struct nj_task *task, int cause);
void nj_cache_add(struct nj_jail *jail, const struct nj_task *task, int error, uint64_t token,
		  bool any);

#endif
