// Another process's memory, with every means that a container may have left us.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core.h"

static bool no_vm;  // there is no process_vm_readv here, so do not ask again

static int64_t through_vm(int32_t tid, uint64_t address, void *data, size_t size, bool write)
{
	struct iovec ours = { .iov_base = data, .iov_len = size };
	struct iovec theirs = { .iov_base = (void *)address, .iov_len = size };
	ssize_t moved;

	if (no_vm)
		return -ENOSYS;
	moved = write ? process_vm_writev(tid, &ours, 1, &theirs, 1, 0)
		      : process_vm_readv(tid, &ours, 1, &theirs, 1, 0);
	if (moved >= 0)
		return moved;
	// EPERM may hold for this one alone: a program that it cannot read itself.
	no_vm = errno == ENOSYS;
	return -errno;
}

static int64_t through_proc(int32_t tid, uint64_t address, void *data, size_t size)
{
	char path[32];
	ssize_t moved;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	moved = pread(fd, data, size, (off_t)address);
	moved = moved < 0 ? -errno : moved;
	close(fd);
	return moved == -EIO ? -EFAULT : moved;
}

static int64_t through_ptrace(int32_t tid, uint64_t address, uint8_t *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t skip = (address + done) % sizeof(long);
		size_t part = sizeof(long) - skip;
		long word;

		errno = 0;
		word = ptrace(PTRACE_PEEKDATA, tid, address + done - skip, 0);
		if (errno)
			return done ? (int64_t)done : -EFAULT;
		part = part < size - done ? part : size - done;
		memcpy(data + done, (uint8_t *)&word + skip, part);
		done += part;
	}
	return (int64_t)done;
}

// Copy up to `size` bytes at `address` of a stopped tracee.
//
// Returns the bytes copied, which stop short at an unreadable page, or -EFAULT.
int64_t nj_read(int32_t tid, uint64_t address, void *data, size_t size)
{
	int64_t moved;

	nj_watch_begin();
	moved = through_vm(tid, address, data, size, false);
	if (moved == -ENOSYS || moved == -EPERM) {
		moved = through_proc(tid, address, data, size);
		if (moved < 0 && moved != -EFAULT)
			moved = through_ptrace(tid, address, data, size);
	}
	nj_watch_end();
	return moved;
}

// The last means, where the others are forbidden. It ignores the page's protection
// (FOLL_FORCE, mm/memory.c), but never that of a shared page, which the vault is.
static int64_t poke(int32_t tid, uint64_t address, const uint8_t *data, size_t size)
{
	for (size_t done = 0; done < size; done++) {
		uint64_t at = address + done, shift = at % sizeof(long) * 8;
		unsigned long word;

		errno = 0;
		word = (unsigned long)ptrace(PTRACE_PEEKDATA, tid, at & ~7ULL, 0);
		if (errno)
			return -EFAULT;
		word = (word & ~(0xFFUL << shift)) | (unsigned long)data[done] << shift;
		if (ptrace(PTRACE_POKEDATA, tid, at & ~7ULL, word) < 0)
			return -EFAULT;
	}
	return (int64_t)size;
}

// Copy `size` bytes to a stopped tracee where it may write itself.
int64_t nj_write(int32_t tid, uint64_t address, const void *data, size_t size)
{
	int64_t moved;

	nj_watch_begin();
	moved = through_vm(tid, address, (void *)data, size, true);
	if (moved == -ENOSYS || moved == -EPERM)
		moved = poke(tid, address, data, size);
	nj_watch_end();
	return moved;
}
