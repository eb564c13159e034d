// The seccomp program once more, in user space.
//
// A tracee's own filter can answer RET_TRACE too, and the newest filter's data
// wins among equals (seccomp_run_filters in kernel/seccomp.c): what we are told
// at a stop cannot be believed. So the same program is run again here, over the
// registers as they are; it uses only the few instructions that filter.py emits.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>

#include "core.h"

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t word;

	if (offset > sizeof(*data) - sizeof(word))
		return 0;
	memcpy(&word, (const uint8_t *)data + offset, sizeof(word));
	return word;
}

static bool jumps(uint16_t code, uint32_t a, uint32_t k)
{
	switch (BPF_OP(code)) {
	case BPF_JEQ:
		return a == k;
	case BPF_JGE:
		return a >= k;
	case BPF_JGT:
		return a > k;
	case BPF_JSET:
		return (a & k) != 0;
	}
	return false;
}

// What the kernel's run of the program gave for this call: SECCOMP_RET_*.
//
// Anything that the program does not use reads as KILL: fail closed.
uint32_t nj_evaluate(const struct nj_config *config, uint32_t arch, uint32_t number,
		     uint64_t ip, const uint64_t args[6])
{
	const struct sock_filter *program = config->filter;
	struct seccomp_data data = { .nr = (int)number, .arch = arch, .instruction_pointer = ip };
	uint32_t a = 0;

	memcpy(data.args, args, sizeof(data.args));
	for (uint32_t at = 0; at < config->filter_length; at++) {
		const struct sock_filter *step = &program[at];

		if (step->code == (BPF_LD | BPF_W | BPF_ABS))
			a = load(&data, step->k);
		else if (step->code == (BPF_ALU | BPF_AND | BPF_K))
			a &= step->k;
		else if (step->code == (BPF_JMP | BPF_JA))
			at += step->k;
		else if (BPF_CLASS(step->code) == BPF_JMP)
			at += jumps(step->code, a, step->k) ? step->jt : step->jf;
		else if (step->code == (BPF_RET | BPF_K))
			return step->k;
		else
			break;
	}
	return SECCOMP_RET_KILL_PROCESS;
}
