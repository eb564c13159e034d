// A duplicate of a tracee's descriptor where pidfd_getfd(2) is refused, as containers do.
//
// The tracee sends it to us: an injection (inject.c) puts one end of a socket pair into
// it and has it make sendmsg with SCM_RIGHTS, whose message lies in the vault. Then its
// own call runs again, and what was sent is taken for what its number means. Another
// thread could have sent something else meanwhile; so the two are compared, and where a
// thread could change the number afterwards the kind counts as unknown anyway.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core.h"

// What lies in the slot.
struct parcel {
	struct msghdr message;
	struct iovec vector;
	uint64_t word;
	struct cmsghdr header;
	int32_t descriptor;
};

// Whether this process may use pidfd_getfd at all, tried on itself.
bool nj_must_lend(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), fd;

	if (pidfd < 0)
		return true;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, pidfd, 0);
	if (fd >= 0)
		close(fd);
	close(pidfd);
	return fd < 0;
}

static int wrap(struct nj_jail *jail, struct nj_task *task, uint32_t fd)
{
	uint64_t at;
	uint8_t *slot;
	struct parcel parcel = { .header = { .cmsg_len = CMSG_LEN(sizeof(parcel.descriptor)),
					     .cmsg_level = SOL_SOCKET,
					     .cmsg_type = SCM_RIGHTS },
				 .descriptor = (int32_t)fd };
	int error = nj_slot_take(jail, task, &slot, &at);

	if (error)
		return error;
	parcel.vector.iov_base = (void *)(at + offsetof(struct parcel, word));
	parcel.vector.iov_len = sizeof(int32_t);
	parcel.message.msg_iov = (void *)(at + offsetof(struct parcel, vector));
	parcel.message.msg_iovlen = 1;
	parcel.message.msg_control = (void *)(at + offsetof(struct parcel, header));
	parcel.message.msg_controllen = CMSG_SPACE(sizeof(parcel.descriptor));
	memcpy(slot, &parcel, sizeof(parcel));
	task->lending.address = at;
	return 0;
}

static int vault_is_there(struct nj_jail *jail, struct nj_task *task)
{
	int error = task->process->vault ? 0 : nj_vault_verify(jail, task->tid);

	if (!error)
		task->process->vault = true;
	return error;
}

static int begin(struct nj_jail *jail, struct nj_task *task, uint32_t fd)
{
	int error = vault_is_there(jail, task);

	if (error == -ENOENT)
		return nj_inject(jail, task);
	if (!error)
		error = wrap(jail, task, fd);
	if (!error && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, task->lending.channel) < 0)
		error = -errno;
	if (error)
		return error;
	task->lending.under_way = true;
	error = nj_inject(jail, task);
	if (error)
		nj_lend_end(task);
	return error;
}

// Have the stopped task lend us `fd`, where we cannot take a duplicate.
//
// Returns 1 if its call comes again then, 0 if it can go on: there is a duplicate, or
// none is to be had, or -errno.
int nj_lend(struct nj_jail *jail, struct nj_task *task, uint32_t fd)
{
	int error;

	// Of an i386 call it is not known: the parcel has the native layout.
	if (!jail->lends || task->lending.lent != NJ_NOTHING_LENT || task->call->abi->word != 8)
		return 0;
	task->lending.unjudged = !nj_is_again(task);
	nj_remember_again(task);
	error = begin(jail, task, fd);
	if (!error || error == -ESRCH)
		return error ? error : 1;
	task->again = !task->lending.unjudged;
	task->lending.unjudged = false;
	return 0;
}

// What the injected sendmsg returned: take what it sent.
void nj_lend_sent(struct nj_jail *jail, struct nj_task *task, int64_t result)
{
	int32_t word;

	task->lending.lent = (int32_t)result;
	if (result >= 0)
		task->lending.lent = nj_receive_descriptor(task->lending.channel[0],
						   MSG_DONTWAIT | MSG_CMSG_CLOEXEC, &word);
	nj_slot_free(jail, task);
}

void nj_lend_end(struct nj_task *task)
{
	if (!task->lending.under_way)
		return;
	task->lending.under_way = false;
	close(task->lending.channel[0]);
	close(task->lending.channel[1]);
}

// What was lent for `fd` of the stopped task: ours from now on, or -errno.
int nj_lent(struct nj_task *task, uint32_t fd)
{
	char name[24];
	int duplicate = task->lending.lent, same;

	task->lending.lent = NJ_NOTHING_LENT;
	if (duplicate == NJ_NOTHING_LENT)
		return -EPERM;
	if (duplicate < 0)
		return duplicate;
	snprintf(name, sizeof(name), "fd/%u", fd);
	nj_watch_begin();  // a thread may have put a file of a FUSE there
	same = nj_same_file(duplicate, task->tid, name);
	nj_watch_end();
	if (same == 1)
		return duplicate;
	close(duplicate);
	// No such number: it was that of the socket it was sent by.
	return same == -ENOENT ? -EBADF : -ESTALE;
}

// A call begins: the one that something was lent for, or another.
void nj_lend_begun(struct nj_task *task)
{
	if (!nj_is_again(task))
		nj_lend_forget(task);
	else if (task->lending.unjudged)
		task->again = false;  // it came again, but nobody was asked yet
	task->lending.unjudged = false;
}

void nj_lend_forget(struct nj_task *task)
{
	nj_lend_end(task);
	if (task->lending.lent >= 0)
		close(task->lending.lent);
	task->lending.lent = NJ_NOTHING_LENT;
	task->lending.unjudged = false;
}
