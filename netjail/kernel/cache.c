// Verdicts that need not be asked for again, and how often they were used.
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define ANY_KIND INT32_MIN  // in place of a domain, or of an errno

static uint32_t fast_open(const struct nj_jail *jail, const struct nj_task *task)
{
	const struct nj_row *row = nj_row_of(jail, task);

	return row->flags < 0 ? 0 : nj_args_of(task)[row->flags] & MSG_FASTOPEN;
}

// What a verdict was on: with `any`, whatever the descriptor is.
static void key_of(const struct nj_jail *jail, const struct nj_task *task, bool any,
		   struct nj_cached *ret)
{
	const struct nj_call *call = task->call;
	const struct nj_descriptor *found = &call->descriptor;

	memset(ret, 0, sizeof(*ret));
	ret->process = task->process->id;
	ret->row = call->row;
	ret->kind[0] = ANY_KIND;
	if (!any) {
		ret->netns = found->netns;
		ret->kind[0] = found->error ? -found->error : found->domain;
		ret->kind[1] = found->type | (found->shared << 16);
		ret->kind[2] = found->protocol;
	}
	ret->flags = fast_open(jail, task);
	ret->name_size = call->name_size;
	memcpy(ret->name, call->name, call->name_size);
}

static bool same(const struct nj_cached *a, const struct nj_cached *b)
{
	return a->process == b->process && a->row == b->row && a->netns == b->netns &&
	       a->flags == b->flags && a->name_size == b->name_size &&
	       !memcmp(a->kind, b->kind, sizeof(a->kind)) &&
	       !memcmp(a->name, b->name, sizeof(a->name));
}

static struct nj_cached *set_of(struct nj_jail *jail, const struct nj_cached *key)
{
	uint64_t hash = 0xcbf29ce484222325ULL ^ key->process;  // FNV-1a over the name

	for (uint32_t i = 0; i < key->name_size; i++)
		hash = (hash ^ key->name[i]) * 0x100000001b3ULL;
	hash ^= (uint64_t)key->row << 20 ^ key->flags;
	return &jail->cache[(hash ^ hash >> 32) % NJ_CACHE_SETS * NJ_CACHE_WAYS];
}

// Of an adopted process it may yet become known who started it.
static bool fits(const struct nj_task *task)
{
	return !task->process->image->adopted && task->call->named && task->call->name_size <= NJ_CACHED_NAME && !task->call->fault;
}

// The verdict for the task's call, or NULL; `any`: one that holds for every descriptor.
struct nj_cached *nj_cache_find(struct nj_jail *jail, const struct nj_task *task, bool any)
{
	struct nj_cached key, *set;

	if (!fits(task))
		return NULL;
	key_of(jail, task, any, &key);
	set = set_of(jail, &key);
	for (int way = 0; way < NJ_CACHE_WAYS; way++)
		if (set[way].token && same(&set[way], &key))
			return &set[way];
	return NULL;
}

// Keep what Python has not counted yet of an entry that is no more.
static void forget(struct nj_jail *jail, uint64_t token, uint64_t count)
{
	struct nj_count *grown;

	if (!token)
		return;
	if (jail->drained_count == jail->drained_size) {
		uint32_t size = jail->drained_size ? jail->drained_size * 2 : 256;

		grown = realloc(jail->drained, size * sizeof(*grown));
		if (!grown)
			return;
		jail->drained = grown;
		jail->drained_size = size;
	}
	jail->drained[jail->drained_count++] = (struct nj_count){ token, count, 1 };
}

// Answer the same bytes from the same image by ourselves from here on.
void nj_cache_add(struct nj_jail *jail, const struct nj_task *task, int error, uint64_t token,
		  bool any)
{
	struct nj_cached key, *set;

	if (!fits(task)) {
		forget(jail, token, 0);
		return;
	}
	key_of(jail, task, any, &key);
	key.error = error;
	key.token = token;
	set = set_of(jail, &key);
	forget(jail, set[NJ_CACHE_WAYS - 1].token, set[NJ_CACHE_WAYS - 1].count);
	memmove(&set[1], &set[0], (NJ_CACHE_WAYS - 1) * sizeof(*set));
	set[0] = key;
}

// The caller of an attempt ended before the kernel answered.
void nj_forgone(struct nj_jail *jail, struct nj_task *task)
{
	if (task->token && !task->told && jail->gone_count < NJ_GONE)
		jail->gone[jail->gone_count++] = (struct nj_gone){ .token = task->token };
	task->token = 0;
}

// The attempt gets ENOBUFS, since our copy could not be had, an errno tells why.
void nj_unpinned(struct nj_jail *jail, struct nj_task *task, int cause)
{
	if (jail->gone_count < NJ_GONE)
		jail->gone[jail->gone_count++] = (struct nj_gone){ task->token, cause };
	task->token = 0;
}

// Other kinds of sockets are let into the jail: what held for all has to be asked anew.
void nj_forget_any(struct nj_jail *jail)
{
	for (uint32_t i = 0; i < NJ_CACHE_SETS * NJ_CACHE_WAYS; i++) {
		struct nj_cached *entry = &jail->cache[i];

		if (entry->token && entry->kind[0] == ANY_KIND) {
			forget(jail, entry->token, entry->count);
			memset(entry, 0, sizeof(*entry));
		}
	}
}

// Hand over the attempts that nobody will hear the result of.
int nj_gone(struct nj_jail *jail, struct nj_gone *ret, uint32_t capacity)
{
	uint32_t filled = 0;

	while (jail->gone_count && filled < capacity)
		ret[filled++] = jail->gone[--jail->gone_count];
	return (int)filled;
}

// Hand over the repeats since the last drain; returns how many rows were filled.
int nj_drain(struct nj_jail *jail, struct nj_count *ret, uint32_t capacity)
{
	uint32_t filled = 0;

	while (jail->drained_count && filled < capacity)
		ret[filled++] = jail->drained[--jail->drained_count];
	for (uint32_t i = 0; i < NJ_CACHE_SETS * NJ_CACHE_WAYS && filled < capacity; i++) {
		if (!jail->cache[i].token || !jail->cache[i].count)
			continue;
		ret[filled++] = (struct nj_count){ jail->cache[i].token, jail->cache[i].count, 0 };
		jail->cache[i].count = 0;
	}
	return (int)filled;
}
