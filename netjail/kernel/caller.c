// Who calls, for rules that ask: programs by their true paths, up to the command.
//
// /proc/PID/exe alone proves nothing. It tells a path as it stands in the process's mount
// namespace, where the jail can put any file at any path.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core.h"

// A program that starts itself for ever would keep all that it was.
#define IMAGES_MAX 64

// Whether `path`, without a link in it, leads from here to the file that `tid` runs.
static bool leads_to(const char *path, int32_t tid)
{
	char link[32], true_path[PATH_MAX];
	struct stat here, running;

	snprintf(link, sizeof(link), "/proc/%d/exe", tid);
	return realpath(path, true_path) && !strcmp(path, true_path) && !lstat(path, &here) &&
	       !stat(link, &running) && here.st_dev == running.st_dev &&
	       here.st_ino == running.st_ino;
}

// At the exec stop: later the file may be replaced, or the process may have ended.
void nj_image_prove(struct nj_image *image, int32_t tid)
{
	// A path may lead into a FUSE that does not answer.
	nj_watch_begin();
	image->proven = image->exe[0] == '/' && leads_to(image->exe, tid);
	nj_watch_end();
}

static void forget_beyond(struct nj_image *image, uint32_t depth)
{
	while (image && depth--)
		image = image->before;
	if (image && image->before) {
		nj_image_release(image->before);
		image->before = NULL;
		image->lost = true;
	}
}

// `image` takes the place of `before`, which is the image of who forked the process: so
// the line of images is that of all who started something, dead or alive.
void nj_image_follow(struct nj_image *image, struct nj_image *before)
{
	before->refs++;
	image->before = before;
	image->depth = before->depth + 1;
	if (image->depth > IMAGES_MAX)
		forget_beyond(image, IMAGES_MAX);
}

static void tell(const struct nj_image *image, struct nj_caller *ret)
{
	*ret = (struct nj_caller){
		.exe = image->proven ? image->exe : "",
		.argv = image->argv,
		.argv_size = image->argv_size,
		.whole = image->whole,
	};
}

// The program `step` steps above the one that `tid` runs, 0 for that itself, where its
// process still is `process`.
//
// 0 past the top, -ENODATA where more stood above which is not known.
int nj_caller(struct nj_jail *jail, int32_t tid, uint64_t process, uint32_t step,
	      struct nj_caller *ret)
{
	const struct nj_task *task = nj_task_find(jail, tid);
	const struct nj_image *image, *above;

	if (!task || task->process->id != process)
		return -ESRCH;
	for (image = task->process->image; step; step--, image = above) {
		above = image->before;
		if (!above)
			return image->lost ? -ENODATA : 0;
	}
	tell(image, ret);
	ret->forked = image == task->process->image && task->process->forked;
	return 1;
}
