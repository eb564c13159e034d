// What /proc says of a process: its program, its arguments, its family.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core.h"

// Of a command line; the rest is cut.
#define ARGV_WHOLE (2U << 20)

void nj_image_release(struct nj_image *image)
{
	while (image && !--image->refs) {
		struct nj_image *before = image->before;

		free(image->exe);
		free(image->name);
		free(image->argv);
		free(image);
		image = before;
	}
}

static uint32_t longest(const struct nj_jail *jail)
{
	return jail->config.callers ? ARGV_WHOLE : NJ_ARGV_SHOWN;
}

static char *read_link(int32_t tid)
{
	char path[32], target[4096];
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/exe", tid);
	size = readlink(path, target, sizeof(target));
	if (size < 0 && (fd = nj_open_task(tid, "exe", O_PATH)) >= 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		size = readlink(path, target, sizeof(target));
		close(fd);
	}
	return strndup(target, size < 0 ? 0 : (size_t)size);
}

static char *read_argv(int32_t tid, uint32_t most, uint32_t *ret_size)
{
	char path[32];
	char *argv = malloc(most), *less;
	ssize_t size = 0;
	int fd;

	*ret_size = 0;
	if (!argv)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		size = read(fd, argv, most);
		close(fd);
	}
	*ret_size = size < 0 ? 0 : (uint32_t)size;
	less = realloc(argv, *ret_size + 1);
	return less ? less : argv;
}

// What execve(2) put on the new stack: argc, argv, envp, the auxiliary vector, then
// the strings; see create_elf_tables() in fs/binfmt_elf.c. Cheaper than /proc, which
// a script that runs one program after the other would feel.
struct stack {
	int32_t tid;
	uint64_t base;
	uint64_t size;  // bytes of `words` that were read
	uint64_t words[1024];
};

static bool read_stack(int32_t tid, struct stack *ret)
{
	struct user_regs_struct regs;
	int64_t size;

	if (nj_get_registers(tid, &regs) < 0)
		return false;
	size = nj_read(tid, regs.rsp, ret->words, sizeof(ret->words));
	ret->tid = tid;
	ret->base = regs.rsp;
	ret->size = size < 0 ? 0 : (uint64_t)size;
	// Not of a 32-bit program, whose words are half as long.
	return ret->size >= 32 && ret->words[0] && ret->words[0] < ret->size / 8 - 3;
}

// A string area of the stack, up to its top: mostly it was read already.
static int64_t copy(const struct stack *stack, uint64_t address, char *data, uint64_t size)
{
	uint64_t at = address - stack->base;

	// A short read ended at the top of the stack, which holds it all then.
	if (at < stack->size && stack->size < sizeof(stack->words) && size > stack->size - at)
		size = stack->size - at;
	if (at >= stack->size || size > stack->size - at)
		return nj_read(stack->tid, address, data, size);
	memcpy(data, (const char *)stack->words + at, size);
	return (int64_t)size;
}

static uint64_t auxiliary(const struct stack *stack, uint64_t type)
{
	uint64_t at = stack->words[0] + 2, count = stack->size / 8;

	while (at < count && stack->words[at])
		at++;
	for (at++; at + 1 < count && stack->words[at]; at += 2)
		if (stack->words[at] == type)
			return stack->words[at + 1];
	return 0;
}

// The arguments and the file as execve(2) was given it. False: ask /proc.
static bool from_stack(int32_t tid, uint32_t most, struct nj_image *image)
{
	struct stack stack;
	char name[256] = "";
	uint64_t first, file, end, size;

	if (!read_stack(tid, &stack))
		return false;
	file = auxiliary(&stack, 31 /* AT_EXECFN */);
	first = stack.words[1];
	end = stack.words[stack.words[0] + 2];  // envp[0]: its string follows the arguments
	end = end ? end : file;
	if (!file || end <= first || copy(&stack, file, name, sizeof(name) - 1) <= 0)
		return false;
	image->whole = end - first < most;
	size = image->whole ? end - first : most;
	image->argv = malloc(size);
	image->argv_size = (uint32_t)size;
	image->name = strdup(name);
	return image->argv && copy(&stack, first, image->argv, size) == (int64_t)size;
}

// Only at the exec stop: no page of the new program has been touched by it yet, so
// that no hostile page can hold us (DESIGN 4.4).
int nj_image_read(const struct nj_jail *jail, int32_t tid, struct nj_image **ret)
{
	struct nj_image *image = calloc(1, sizeof(*image));
	bool read;

	if (!image)
		return -ENOMEM;
	*ret = image;
	read = from_stack(tid, longest(jail), image);
	if (read && !jail->config.callers)
		return 0;
	nj_watch_begin();
	image->exe = read_link(tid);
	if (!read) {
		free(image->argv);
		image->argv = read_argv(tid, longest(jail), &image->argv_size);
		image->whole = image->argv_size && image->argv_size < longest(jail);
	}
	nj_watch_end();
	if (!image->exe || !image->argv)
		return -ENOMEM;
	if (jail->config.callers)
		nj_image_prove(image, tid);
	return 0;
}

// The program's path. It is asked for while the process lives; of one that ended
// before, the file that it was started from has to do.
const char *nj_image_exe(struct nj_image *image, int32_t living)
{
	if (!image->exe && living)
		image->exe = read_link(living);
	if (image->exe)
		return image->exe;
	return image->name ? image->name : "";
}

// The program alone, of a process that runs: it may have rewritten its arguments.
int nj_image_read_exe(const struct nj_jail *jail, int32_t tid, struct nj_image **ret)
{
	struct nj_image *image = calloc(1, sizeof(*image));

	if (!image)
		return -ENOMEM;
	image->exe = read_link(tid);
	image->argv = strdup("");
	image->lost = image->adopted = true;
	*ret = image;
	if (!image->exe || !image->argv)
		return -ENOMEM;
	if (jail->config.callers)
		nj_image_prove(image, tid);
	return 0;
}

// What /proc says of a task that nobody announced.
void nj_read_family(int32_t tid, int32_t *ret_tgid, int32_t *ret_parent)
{
	char path[32], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "Tgid: %d", ret_tgid);
		if (sscanf(line, "PPid: %d", ret_parent) == 1)
			break;
	}
	fclose(file);
}
