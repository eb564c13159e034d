// The vault: memory that a tracee's kernel can read and no tracee can write.
//
// A memfd of ours, mapped writable here only and then sealed, so that every
// later mapping is read-only for good: F_SEAL_FUTURE_WRITE in fcntl(2).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core.h"

static int seal(int fd)
{
	int seals = F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

	return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

static int open_read_only(int fd)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	return again < 0 ? -errno : again;
}

// How much of a vault our limit on files lets us have: it counts memory's too,
// inode_newsize_ok() in fs/attr.c. The command has its own.
static size_t room(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
		return NJ_VAULT_SIZE;
	if (limit.rlim_cur < NJ_VAULT_SIZE) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_FSIZE, &limit);
	}
	return limit.rlim_cur < NJ_VAULT_SIZE ? limit.rlim_cur & ~4095UL : NJ_VAULT_SIZE;
}

// Only the slots that lie in the first `size` bytes can be used.
static int identify(struct nj_jail *jail, int fd, size_t size)
{
	uint32_t slots = (uint32_t)(size / NJ_SLOT_SIZE);

	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	jail->vault_device = status.st_dev;
	jail->vault_inode = status.st_ino;
	jail->free_count = slots - 1;
	for (uint32_t i = 0; i < jail->free_count; i++)
		jail->free_slots[i] = (int32_t)(jail->free_count - i);
	nj_sources_lay_out(jail);
	return 0;
}

static int create(void)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	// MFD_NOEXEC_SEAL: vm.memfd_noexec=2 refuses one without it, since Linux 6.3.
	int fd = memfd_create("netjail-vault", flags | 8);

	return fd < 0 && errno == EINVAL ? memfd_create("netjail-vault", flags) : fd;
}

int nj_vault_open(struct nj_jail *jail)
{
	int fd = create();
	size_t size = room();
	int error = 0;

	if (fd < 0)
		return -errno;
	// None at all: EFBIG.
	if (ftruncate(fd, (off_t)(size ?: NJ_VAULT_SIZE)) < 0)
		error = -errno;
	jail->vault = mmap(NULL, NJ_VAULT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!error && jail->vault == MAP_FAILED)
		error = -errno;
	if (!error)
		error = seal(fd);
	if (!error) {
		jail->vault_fd = open_read_only(fd);
		error = jail->vault_fd < 0 ? jail->vault_fd : identify(jail, fd, size);
	}
	close(fd);
	return error;
}

// One line of /proc/<tid>/maps against what the vault must be there.
static bool is_vault(const struct nj_jail *jail, const char *line, uint64_t start)
{
	uint64_t begin, end, offset, inode;
	unsigned int major_number, minor_number;
	char mode[5];

	// An executable bit from READ_IMPLIES_EXEC is harmless, see personality(2).
	return sscanf(line, "%lx-%lx %4s %lx %x:%x %lu", &begin, &end, mode, &offset,
		      &major_number, &minor_number, &inode) == 7 &&
	       begin == start && end <= NJ_VAULT_END && mode[1] == '-' && mode[3] == 's' &&
	       offset == begin - NJ_VAULT_BASE && inode == jail->vault_inode &&
	       makedev(major_number, minor_number) == jail->vault_device;
}

static int check_lines(const struct nj_jail *jail, char *lines)
{
	uint64_t covered = NJ_VAULT_BASE;
	char *rest = NULL;

	for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		uint64_t begin, end;

		if (sscanf(line, "%lx-%lx ", &begin, &end) != 2)
			return -EPROTO;
		if (end <= NJ_VAULT_BASE)
			continue;
		if (begin >= NJ_VAULT_END)
			break;
		// mlock(2) and mprotect(2) may split it; each part must be ours.
		if (!is_vault(jail, line, covered))
			return -EEXIST;
		covered = end;
	}
	if (covered == NJ_VAULT_BASE)
		return -ENOENT;
	return covered == NJ_VAULT_END ? 0 : -EEXIST;
}

// Is the vault, and nothing else, where it must be in this address space?
//
// Returns 0, -ENOENT if nothing is there, -EEXIST for anything else in its
// place, or why it cannot be told. Mappings are listed by address, so that
// those of the first page decide.
int nj_vault_verify(struct nj_jail *jail, int32_t tid)
{
	char lines[4097];
	ssize_t size;
	int fd = nj_open_task(tid, "maps", O_RDONLY), error;

	if (fd < 0)
		return fd;
	nj_watch_begin();
	size = read(fd, lines, sizeof(lines) - 1);
	error = size < 0 ? -errno : 0;
	nj_watch_end();
	close(fd);
	if (error)
		return error;
	lines[size] = 0;
	return check_lines(jail, lines);
}

int nj_slot_take(struct nj_jail *jail, struct nj_task *task, uint8_t **ret, uint64_t *ret_address)
{
	if (task->slot < 0) {
		if (!jail->free_count)
			return -ENOBUFS;
		task->slot = jail->free_slots[--jail->free_count];
	}
	*ret = jail->vault + (size_t)task->slot * NJ_SLOT_SIZE;
	*ret_address = NJ_VAULT_BASE + (uint64_t)task->slot * NJ_SLOT_SIZE;
	return 0;
}

void nj_slot_free(struct nj_jail *jail, struct nj_task *task)
{
	if (task->slot < 0)
		return;
	jail->free_slots[jail->free_count++] = task->slot;
	task->slot = -1;
}
