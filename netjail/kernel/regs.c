// Registers of a stopped tracee, and how it goes on.
#include <errno.h>

#include "core.h"

#define AT(field) offsetof(struct user_regs_struct, field)

int nj_resume(int32_t tid, int request, int signal)
{
	return ptrace(request, tid, 0, (long)signal) < 0 ? -errno : 0;
}

int nj_poke(int32_t tid, size_t offset, uint64_t value)
{
	return ptrace(PTRACE_POKEUSER, tid, offset, value) < 0 ? -errno : 0;
}

// Make the syscall that `tid` is stopped at return `result` without running.
//
// A syscall number of -1 makes the kernel skip the call and leave the return
// register as we set it: see "SECCOMP_RET_TRACE" in seccomp(2).
int nj_skip(int32_t tid, int64_t result)
{
	int error = nj_poke(tid, AT(orig_rax), (uint64_t)-1);

	return error ? error : nj_poke(tid, AT(rax), (uint64_t)result);
}

int nj_get_registers(int32_t tid, struct user_regs_struct *ret)
{
	return ptrace(PTRACE_GETREGS, tid, 0, ret) < 0 ? -errno : 0;
}

int nj_set_registers(int32_t tid, const struct user_regs_struct *registers)
{
	// EIO: a program may point the bases of FS and GS into the kernel's half, ptrace(2)
	// may not; all that comes before them in the struct is set (arch/x86/kernel/ptrace.c).
	return ptrace(PTRACE_SETREGS, tid, 0, registers) < 0 && errno != EIO ? -errno : 0;
}

// The return register at a syscall's exit stop; a dead tracee reads as -ESRCH.
int64_t nj_result(int32_t tid)
{
	long value;

	errno = 0;
	value = ptrace(PTRACE_PEEKUSER, tid, AT(rax), 0);
	return errno ? -ESRCH : value;
}

// Whether the task is at a stop, where it stays until we resume it.
int nj_is_stopped(int32_t tid)
{
	unsigned long message;

	return ptrace(PTRACE_GETEVENTMSG, tid, 0, &message) == 0;
}
