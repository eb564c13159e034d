// Attacks on the pages that hold the judged copy, while allowed calls use it.
//
// A thread puts the canary's address where the copy is; the main thread sends to the
// allowed one. Without a jail pages of our own stand there, and hold the address: so that
// the attack can be seen to work.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "doors.h"

#define PAGE 4096UL

static char *const start = (char *)NJ_VAULT_BASE;
static const size_t size = NJ_VAULT_SIZE;
static struct sockaddr_in own, poison;
static struct sockaddr_in *used; // by the calls
static char *poisoned;		 // `size` bytes of it
static int fd;

static void fill(char *at, size_t length)
{
	for (size_t i = 0; i + sizeof(poison) <= length; i += sizeof(poison))
		memcpy(at + i, &poison, sizeof(poison));
}

static char *map(char *where, size_t length, int flags)
{
	return mmap(where, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1,
		    0);
}

// A mapping of ours; poison it if it lies in the vault.
static void took(char *at, size_t length)
{
	if (at == MAP_FAILED)
		return;
	if (at + length > start && at < start + size)
		fill(at, length);
	else
		munmap(at, length);
}

static void by_protect(void)
{
	if (mprotect(start, size, PROT_READ | PROT_WRITE) == 0)
		fill(start, size);
}

static void by_mem(void)
{
	static int memory = -1;

	if (memory < 0)
		memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	(void)!pwrite(memory, poisoned, size, (off_t)start);
}

static void by_writev(void)
{
	struct iovec here = { poisoned, size }, there = { start, size };

	process_vm_writev(getpid(), &here, 1, &there, 1, 0);
}

static void by_unmap(void)
{
	munmap(start, size);
	munmap(NULL, (size_t)start + size);
	took(map(start, size, MAP_FIXED_NOREPLACE), size);
}

static void by_map(void)
{
	took(map(start, size, MAP_FIXED), size);
	took(map(start - PAGE, 2 * PAGE, MAP_FIXED), 2 * PAGE);
	took(map(start, PAGE, 0), PAGE);
}

static void by_move_over(void)
{
	char *page = map(NULL, size, 0);

	fill(page, size);
	mremap(page, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start);
	munmap(page, size);
}

static void by_move_away(void)
{
	char *away = map(NULL, size, 0);

	if (mremap(start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, away) == away)
		took(map(start, size, MAP_FIXED_NOREPLACE), size);
	munmap(away, size);
}

static void by_shared_memory(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	char *page = shmat(id, start, SHM_REMAP);

	took(page, PAGE);
	shmctl(id, IPC_RMID, NULL);
}

// Fields 26 to 51 of /proc/self/stat, see proc(5).
static int read_layout(unsigned long *ret)
{
	char text[2048], *at;
	int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t length = read(file, text, sizeof(text) - 1);

	close(file);
	if (length <= 0)
		return -EIO;
	text[length] = 0;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 52; field++) {
		ret[field] = field >= 26 ? strtoul(at, NULL, 10) : 0;
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return 0;
}

// The heap begins where prctl says; nobody needs a privilege for PR_SET_MM_MAP.
static void by_break(void)
{
	unsigned long f[52] = { 0 }, from = (unsigned long)start;
	struct prctl_mm_map layout;

	if (read_layout(f))
		return;
	munmap(start, size);
	layout = (struct prctl_mm_map){ f[26], f[27], f[45], f[46], from, from, f[28],
					f[48], f[49], f[50], f[51], NULL, 0, -1 };
	if (prctl(PR_SET_MM, PR_SET_MM_MAP, &layout, sizeof(layout), 0) == 0 &&
	    (unsigned long)syscall(SYS_brk, from + size) == from + size)
		fill(start, size);
}

// -- Runs ----

static void set_up(const struct nj_scene *scene)
{
	own = nj_inet(scene->allowed_udp);
	poison = nj_inet(scene->udp);
	poisoned = map(NULL, size, 0);
	fill(poisoned, size);
	fd = nj_udp();
	used = &own;
	if (map(start, size, MAP_FIXED_NOREPLACE) == start) {
		used = (struct sockaddr_in *)start;
		*used = own;
	}
}

static void call(void)
{
	nj_send(fd, used, sizeof(*used), 0);
}

static void *for_ever(void *step)
{
	for (;;)
		((void (*)(void))step)();
	return NULL;
}

static int beside(const struct nj_scene *scene, void (*step)(void))
{
	uint64_t end = nj_end(scene);
	pthread_t thread;

	set_up(scene);
	call();
	if (pthread_create(&thread, NULL, for_ever, (void *)step))
		return EAGAIN;
	while (nj_now() < end)
		call();
	return 0;
}

// Each child calls for the first time, `prepare` done; what a fork leaves it is ours.
static int children(const struct nj_scene *scene, void (*prepare)(void), int calls)
{
	for (uint64_t end = nj_end(scene); nj_now() < end;) {
		pid_t pid = fork();

		if (pid == 0) {
			// Alarms that come faster than their handler ends would never let it go.
			setrlimit(RLIMIT_CPU, &(struct rlimit){ 1, 1 });
			prepare();
			while (calls-- > 0)
				call();
			_exit(0);
		}
		nj_ended(pid);
	}
	return 0;
}

static void on_alarm(int number)
{
	(void)number;
	took(map(start, PAGE, MAP_FIXED), PAGE);
}

static void set_alarms(void)
{
	struct itimerval often = { { 0, 50 }, { 0, 50 } };
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

static void map_first(void)
{
	by_map();
	by_shared_memory();
}

#define BESIDE(step)                                             \
	static int vault_##step(const struct nj_scene *scene)    \
	{                                                        \
		return beside(scene, by_##step);                 \
	}

BESIDE(protect)
BESIDE(mem)
BESIDE(writev)
BESIDE(unmap)
BESIDE(map)
BESIDE(move_over)
BESIDE(move_away)
BESIDE(shared_memory)
BESIDE(break)

// The vault is there, and MADV_DONTFORK leaves its place empty in children.
static int vault_heirs(const struct nj_scene *scene)
{
	set_up(scene);
	call();
	madvise(start, size, MADV_DONTFORK);
	return children(scene, map_first, 1);
}

static int vault_early(const struct nj_scene *scene)
{
	set_up(scene);
	return children(scene, map_first, 1);
}

static int vault_alarms(const struct nj_scene *scene)
{
	set_up(scene);
	return children(scene, set_alarms, 100);
}

static const struct nj_door rows[] = {
	{ "vault-protect", vault_protect },
	{ "vault-mem", vault_mem },
	{ "vault-writev", vault_writev },
	{ "vault-unmap", vault_unmap },
	{ "vault-map", vault_map },
	{ "vault-move-over", vault_move_over },
	{ "vault-move-away", vault_move_away },
	{ "vault-shared-memory", vault_shared_memory },
	{ "vault-break", vault_break },
	{ "vault-heirs", vault_heirs },
	{ "vault-early", vault_early },
	{ "vault-alarms", vault_alarms },
};

const struct nj_doors nj_doors_vault = { rows, COUNT(rows) };
