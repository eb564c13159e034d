// A set of socket cookies, open addressing, 2 MiB at most: pages never touched
// cost nothing. Cookies leave it only when it is built again, see prune() in diag.c.
#include "diag.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS (1u << 18)
#define FULL (SLOTS / 2)

static uint32_t first_slot(uint64_t cookie)
{
	// Fibonacci hashing: cookies count upwards, in batches for each CPU.
	return (uint32_t)((cookie * 0x9E3779B97F4A7C15ULL) >> 46);
}

int nj_cookies_new(struct nj_cookies *ret)
{
	*ret = (struct nj_cookies){ .slots = calloc(SLOTS, sizeof(*ret->slots)) };
	return ret->slots ? 0 : -ENOMEM;
}

void nj_cookies_free(struct nj_cookies *cookies)
{
	free(cookies->slots);
	cookies->slots = NULL;
}

bool nj_cookies_full(const struct nj_cookies *cookies)
{
	return cookies->count >= FULL;
}

bool nj_cookies_has(const struct nj_cookies *cookies, uint64_t cookie)
{
	uint32_t slot = first_slot(cookie);

	if (!cookie)
		return false;
	while (cookies->slots[slot] && cookies->slots[slot] != cookie)
		slot = (slot + 1) % SLOTS;
	return cookies->slots[slot] == cookie;
}

// Add `cookie`; -ENOSPC when the set is full.
int nj_cookies_add(struct nj_cookies *cookies, uint64_t cookie)
{
	uint32_t slot = first_slot(cookie);

	if (!cookie)
		return -EINVAL;
	while (cookies->slots[slot] && cookies->slots[slot] != cookie)
		slot = (slot + 1) % SLOTS;
	if (!cookies->slots[slot]) {
		if (nj_cookies_full(cookies))
			return -ENOSPC;
		cookies->slots[slot] = cookie;
		cookies->count++;
	}
	cookies->recent[cookies->next++ % NJ_COOKIES_RECENT] = cookie;
	return 0;
}
