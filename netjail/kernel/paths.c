// The system calls that resolving a tracee's path needs and that Python's os lacks.
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
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

static int restore_root(uint32_t gid)
{
	syscall(SYS_setfsuid, 0);
	syscall(SYS_setfsgid, gid);
	if ((uint32_t)syscall(SYS_setfsuid, -1) || (uint32_t)syscall(SYS_setfsgid, -1) != gid)
		return -EPERM;
	return nj_cling();
}

// open(2) of a file of /proc/<tid>, or -errno.
//
// It asks who may look into the task: a root that was left without CAP_SYS_PTRACE, as in
// containers, may only as the user that the task has become. Of one that is not dumpable
// /proc says that it is root's: nobody may look into that.
int nj_open_task(int32_t tid, const char *name, int flags)
{
	uint32_t gid = getegid();
	struct stat owner;
	char path[48];
	int fd, error;

	snprintf(path, sizeof(path), "/proc/%d/%s", tid, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0 || errno != EACCES || geteuid() != 0)
		return fd < 0 ? -errno : fd;
	snprintf(path, sizeof(path), "/proc/%d", tid);
	if (stat(path, &owner) < 0 || owner.st_uid == 0)
		return -EACCES;
	snprintf(path, sizeof(path), "/proc/%d/%s", tid, name);
	syscall(SYS_setfsgid, owner.st_gid);
	syscall(SYS_setfsuid, owner.st_uid);
	fd = open(path, flags | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	error = restore_root(gid);
	if (error && fd >= 0)
		close(fd);
	return error ? error : fd;
}

// 1 if `name` in /proc/<tid> leads to the very file of `fd`, 0 if not, or -errno.
int nj_same_file(int fd, int32_t tid, const char *name)
{
	int theirs = nj_open_task(tid, name, O_PATH);
	struct stat held, named;
	int error;

	if (theirs < 0)
		return theirs;
	error = fstat(fd, &held) < 0 || fstat(theirs, &named) < 0 ? -errno : 0;
	close(theirs);
	return error ? error : held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}
