// What differs between the ABIs that one process can mix: registers, numbers, and
// the layout of what calls point to.
#include <errno.h>
#include <linux/audit.h>
#include <string.h>
#include <sys/syscall.h>

#include "core.h"

#define AT(field) offsetof(struct user_regs_struct, field)

// The calling conventions of syscall(2). The numbers of i386 are those of
// arch/x86/entry/syscalls/syscall_32.tbl.
static const struct nj_abi ABIS[] = {
	{ AUDIT_ARCH_X86_64, 8, { AT(rdi), AT(rsi), AT(rdx), AT(r10), AT(r8), AT(r9) },
	  .sendmsg = SYS_sendmsg, .mmap = SYS_mmap, .close = SYS_close,
	  .seccomp = SYS_seccomp },
	{ AUDIT_ARCH_I386, 4, { AT(rbx), AT(rcx), AT(rdx), AT(rsi), AT(rdi), AT(rbp) },
	  .sendmsg = 370, .mmap = 192 /* mmap2 */, .close = 6,
	  .seccomp = 354 },
};

// NULL: the filter lets no other architecture in.
const struct nj_abi *nj_abi_of(uint32_t arch)
{
	for (size_t i = 0; i < sizeof(ABIS) / sizeof(*ABIS); i++)
		if (ABIS[i].arch == arch)
			return &ABIS[i];
	return NULL;
}

// A register as the ABI reads it: i386 does not see the upper half, in which a 64-bit
// program can leave anything before `int $0x80`.
uint64_t nj_read_as(const struct nj_abi *abi, uint64_t value)
{
	return abi->word == 4 ? (uint32_t)value : value;
}

static uint64_t *argument_of(const struct nj_abi *abi, struct user_regs_struct *regs, int number)
{
	return (uint64_t *)((uint8_t *)regs + abi->argument[number]);
}

void nj_arguments_set(const struct nj_abi *abi, struct user_regs_struct *ret,
		      const uint64_t args[6])
{
	for (int i = 0; i < 6; i++)
		*argument_of(abi, ret, i) = args[i];
}

bool nj_arguments_are(const struct nj_abi *abi, struct user_regs_struct *regs,
		      const uint64_t args[6])
{
	for (int i = 0; i < 6; i++)
		if (nj_read_as(abi, *argument_of(abi, regs, i)) != args[i])
			return false;
	return true;
}

// Word number `index` of a structure: in both ABIs each member has one to itself.
static uint64_t word_of(const struct nj_abi *abi, const uint8_t *data, size_t index)
{
	uint64_t word = 0;

	memcpy(&word, data + index * abi->word, abi->word);
	return word;
}

static void put_word(const struct nj_abi *abi, uint8_t *data, size_t index, uint64_t word)
{
	memcpy(data + index * abi->word, &word, abi->word);
}

// struct msghdr, seven words; 0 or EFAULT.
int nj_message_read(const struct nj_abi *abi, int32_t tid, uint64_t address, struct msghdr *ret)
{
	uint8_t raw[sizeof(struct msghdr)];

	if (nj_read_exactly(tid, address, raw, 7 * abi->word))
		return EFAULT;
	*ret = (struct msghdr){
		.msg_name = (void *)word_of(abi, raw, 0),
		.msg_namelen = (socklen_t)word_of(abi, raw, 1),
		.msg_iov = (void *)word_of(abi, raw, 2),
		.msg_iovlen = word_of(abi, raw, 3),
		.msg_control = (void *)word_of(abi, raw, 4),
		.msg_controllen = word_of(abi, raw, 5),
		.msg_flags = (int)word_of(abi, raw, 6),
	};
	return 0;
}

void nj_message_write(const struct nj_abi *abi, const struct msghdr *message, uint8_t *ret)
{
	put_word(abi, ret, 0, (uint64_t)message->msg_name);
	put_word(abi, ret, 1, message->msg_namelen);
	put_word(abi, ret, 2, (uint64_t)message->msg_iov);
	put_word(abi, ret, 3, message->msg_iovlen);
	put_word(abi, ret, 4, (uint64_t)message->msg_control);
	put_word(abi, ret, 5, message->msg_controllen);
	put_word(abi, ret, 6, (uint32_t)message->msg_flags);
}

// Where a sendmmsg vector has its message number `index`: a msghdr and its msg_len.
uint64_t nj_message_at(const struct nj_abi *abi, uint64_t vector, uint32_t index)
{
	return vector + (uint64_t)index * 8 * abi->word;
}

uint64_t nj_message_length_at(const struct nj_abi *abi, uint64_t vector, uint32_t index)
{
	return nj_message_at(abi, vector, index) + 7 * abi->word;
}

// How many bytes a message's iovecs name.
uint64_t nj_message_size(const struct nj_abi *abi, int32_t tid, const struct msghdr *message)
{
	uint8_t vector[1024];
	size_t stride = 2 * abi->word, left = message->msg_iovlen;
	uint64_t total = 0;

	for (uint64_t at = (uint64_t)message->msg_iov; left;) {
		size_t part = left < sizeof(vector) / stride ? left : sizeof(vector) / stride;

		if (nj_read_exactly(tid, at, vector, part * stride))
			break;
		for (size_t i = 0; i < part; i++)
			total += word_of(abi, vector, 2 * i + 1);
		left -= part;
		at += part * stride;
	}
	return total;
}

// The control message at *at, which then is at the next one. In the kernel's steps,
// CMSG_OK() and __cmsg_nxthdr() of linux/socket.h, for i386 those of net/compat.c: a C
// library's may pass over a part that the kernel takes.
//
// Returns 1 with *ret filled in, 0 at the end, -EINVAL for a length that is none.
int nj_control_next(const struct nj_abi *abi, const uint8_t *control, size_t size, size_t *at,
		    struct nj_control *ret)
{
	size_t head = abi->word + 8, left = *at < size ? size - *at : 0;
	uint64_t length;

	if (left < head)
		return 0;
	length = word_of(abi, control + *at, 0);
	if (length < head || length > left)
		return -EINVAL;
	memcpy(&ret->level, control + *at + abi->word, sizeof(ret->level));
	memcpy(&ret->type, control + *at + abi->word + 4, sizeof(ret->type));
	ret->data = control + *at + head;
	ret->size = length - head;
	*at += (length + abi->word - 1) / abi->word * abi->word;
	return 1;
}
