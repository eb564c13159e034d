// The system calls that resolving a tracee's path needs and that Python's os lacks.
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

// openat2(2): a descriptor or -errno.
int nj_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve };
	long fd = syscall(SYS_openat2, directory, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

// Whether this thread may write to what `fd` (O_PATH will do) is, as connect(2)
// to a socket file asks: 0 or -errno.
//
// Not glibc's faccessat(): it may compare the mode bits with the effective uid,
// where the file system uid counts.
int nj_may_write(int fd)
{
	const int flags = AT_EACCESS | AT_EMPTY_PATH;

	return syscall(SYS_faccessat2, fd, "", W_OK, flags) < 0 ? -errno : 0;
}

// The magic number of the file system that `fd` is on, statfs(2).
int nj_filesystem(int fd, int64_t *ret)
{
	struct statfs status;

	if (fstatfs(fd, &status) < 0)
		return -errno;
	*ret = status.f_type;
	return 0;
}

// 1 if `path`, links followed, is the very inode that `fd` holds, 0 if not, or -errno.
int nj_same_inode(int fd, const char *path)
{
	struct stat held, named;

	if (fstat(fd, &held) < 0 || stat(path, &named) < 0)
		return -errno;
	return held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

// Look up files as `uid`, `gid` and `groups` would, this thread only; back the
// same way. -EPERM where this thread may not.
//
// The raw calls: glibc's setgroups() changes every thread. setfsuid(2) says
// nothing of failure, a second call tells what holds. Leaving uid 0 drops the
// capabilities that overrule file permissions, and only those: capabilities(7).
int nj_fs_credentials(uint32_t uid, uint32_t gid, const uint32_t *groups, size_t count)
{
	// Groups first on the way down, and any order on the way up: what these
	// need (CAP_SETUID, CAP_SETGID) is not dropped by setfsuid().
	if (syscall(SYS_setgroups, count, groups) < 0)
		return -errno;
	syscall(SYS_setfsgid, gid);
	syscall(SYS_setfsuid, uid);
	if ((uint32_t)syscall(SYS_setfsgid, -1) != gid ||
	    (uint32_t)syscall(SYS_setfsuid, -1) != uid)
		return -EPERM;
	return nj_cling();
}
