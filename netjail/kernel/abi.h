// Registers of a stopped tracee, and what differs between the ABIs that it can mix.
#ifndef NJ_ABI_H
#define NJ_ABI_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/user.h>

// What a call is made under; one process can use several.
struct nj_abi {
	uint32_t arch;       // AUDIT_ARCH_*
	uint32_t word;       // bytes of a pointer
	size_t argument[6];  // where each argument is in user_regs_struct
	uint32_t sendmsg;    // numbers
	uint32_t mmap;
	uint32_t close;
	uint32_t seccomp;
};

// One control message.
struct nj_control {
	uint32_t level;
	uint32_t type;
	const uint8_t *data;
	size_t size;
};

// abi.c
const struct nj_abi *nj_abi_of(uint32_t arch);
uint64_t nj_read_as(const struct nj_abi *abi, uint64_t value);
void nj_arguments_set(const struct nj_abi *abi, struct user_regs_struct *ret,
		      const uint64_t args[6]);
bool nj_arguments_are(const struct nj_abi *abi, struct user_regs_struct *regs,
		      const uint64_t args[6]);
int nj_message_read(const struct nj_abi *abi, int32_t tid, uint64_t address, struct msghdr *ret);
void nj_message_write(const struct nj_abi *abi, const struct msghdr *message, uint8_t *ret);
uint64_t nj_message_at(const struct nj_abi *abi, uint64_t vector, uint32_t index);
uint64_t nj_message_length_at(const struct nj_abi *abi, uint64_t vector, uint32_t index);
uint64_t nj_message_size(const struct nj_abi *abi, int32_t tid, const struct msghdr *message);
int nj_control_next(const struct nj_abi *abi, const uint8_t *control, size_t size, size_t *at,
		    struct nj_control *ret);

// regs.c: registers of a stopped tracee
int nj_resume(int32_t tid, int request, int signal);
int nj_skip(int32_t tid, int64_t result);
int nj_get_registers(int32_t tid, struct user_regs_struct *ret);
int nj_set_registers(int32_t tid, const struct user_regs_struct *registers);
int nj_poke(int32_t tid, size_t offset, uint64_t value);
int64_t nj_result(int32_t tid);

#endif
