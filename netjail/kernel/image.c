// What /proc says of a process: its program, its arguments, its family.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core.h"

// As much of a command line as reports show; the rest is cut.
#define ARGV_MAX 4096

void nj_image_release(struct nj_image *image)
{
	if (--image->refs)
		return;
	free(image->exe);
	free(image->argv);
	free(image);
}

static char *read_link(int32_t tid)
{
	char path[32], target[4096];
	ssize_t size;

	snprintf(path, sizeof(path), "/proc/%d/exe", tid);
	size = readlink(path, target, sizeof(target));
	return strndup(target, size < 0 ? 0 : (size_t)size);
}

static char *read_argv(int32_t tid, uint32_t *ret_size)
{
	char path[32];
	char *argv = malloc(ARGV_MAX);
	ssize_t size = 0;
	int fd;

	*ret_size = 0;
	if (!argv)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		size = read(fd, argv, ARGV_MAX);
		close(fd);
	}
	*ret_size = size < 0 ? 0 : (uint32_t)size;
	return argv;
}

int nj_image_read(int32_t tid, struct nj_image **ret)
{
	struct nj_image *image = calloc(1, sizeof(*image));

	if (!image)
		return -ENOMEM;
	// Only at the exec stop: no page of the new program has been touched by
	// it yet, so that no hostile page can hold us (DESIGN 4.4).
	nj_watch_begin();
	image->exe = read_link(tid);
	image->argv = read_argv(tid, &image->argv_size);
	nj_watch_end();
	*ret = image;
	return image->exe && image->argv ? 0 : -ENOMEM;
}

// The program alone, of a process that runs: it may have rewritten its arguments.
int nj_image_read_exe(int32_t tid, struct nj_image **ret)
{
	struct nj_image *image = calloc(1, sizeof(*image));

	if (!image)
		return -ENOMEM;
	image->exe = read_link(tid);
	image->argv = strdup("");
	*ret = image;
	return image->exe && image->argv ? 0 : -ENOMEM;
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
