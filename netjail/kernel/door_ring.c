// io_uring: calls that no filter sees. See io_uring(7); no library is needed.
#include <linux/io_uring.h>
#include <sys/mman.h>

#include "doors.h"

struct ring {
	int fd;
	struct io_uring_params params;
	char *queue;
	struct io_uring_sqe *entries;
};

static int map(struct ring *ring)
{
	struct io_sqring_offsets *at = &ring->params.sq_off;
	size_t size = at->array + ring->params.sq_entries * sizeof(uint32_t);

	ring->queue = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			   IORING_OFF_SQ_RING);
	if (ring->queue == MAP_FAILED)
		return errno;
	ring->entries = mmap(NULL, ring->params.sq_entries * sizeof(*ring->entries),
			     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			     IORING_OFF_SQES);
	return ring->entries == MAP_FAILED ? errno : 0;
}

static int set_up(struct ring *ring)
{
	ring->fd = (int)syscall(SYS_io_uring_setup, 4, &ring->params);
	return ring->fd < 0 ? errno : map(ring);
}

static uint32_t *word(struct ring *ring, uint32_t offset)
{
	return (uint32_t *)(ring->queue + offset);
}

static void put(struct ring *ring, const struct io_uring_sqe *entry)
{
	struct io_sqring_offsets *at = &ring->params.sq_off;
	uint32_t tail = *word(ring, at->tail), slot = tail & *word(ring, at->ring_mask);

	ring->entries[slot] = *entry;
	word(ring, at->array)[slot] = slot;
	__atomic_store_n(word(ring, at->tail), tail + 1, __ATOMIC_RELEASE);
}

static int submit(const struct io_uring_sqe *entry)
{
	struct ring ring = { 0 };
	int error = set_up(&ring);

	if (error)
		return error;
	put(&ring, entry);
	return nj_error(syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
}

static int ring_connect(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->tcp);
	struct io_uring_sqe entry = { .opcode = IORING_OP_CONNECT, .addr = (uintptr_t)&to,
				      .off = sizeof(to),
				      .fd = socket(AF_INET, SOCK_STREAM, 0) };

	return submit(&entry);
}

static int ring_send(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->udp);
	struct iovec data = { NJ_TOKEN, NJ_TOKEN_SIZE };
	struct msghdr message = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &data,
				  .msg_iovlen = 1 };
	struct io_uring_sqe entry = { .opcode = IORING_OP_SENDMSG, .addr = (uintptr_t)&message,
				      .len = 1, .fd = nj_udp() };

	return submit(&entry);
}

// The doctor's ring, kept open over the exec: its kernel thread reads what we put there
// and acts for the doctor, on the doctor's descriptors and memory. While it is awake no
// call is needed.
static int ring_inherited(const struct nj_scene *scene)
{
	struct ring ring = { .fd = scene->ring,
			     .params = { .sq_entries = scene->ring_entries,
					 .sq_off = { .tail = scene->ring_tail,
						     .ring_mask = scene->ring_mask,
						     .array = scene->ring_array } } };
	struct io_uring_sqe entry = { .opcode = IORING_OP_SEND, .fd = scene->ring_socket,
				      .addr = scene->ring_data, .len = NJ_TOKEN_SIZE };
	int error = map(&ring);

	if (error)
		return error;
	put(&ring, &entry);
	syscall(SYS_io_uring_enter, ring.fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
	usleep(20000); // the thread's own time
	return 0;
}

int nj_ring(struct nj_scene *ret)
{
	struct ring ring = { .params = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 2000 } };
	int error = set_up(&ring);

	if (error)
		return -error;
	ret->ring = ring.fd;
	ret->ring_data = (uintptr_t)NJ_TOKEN;
	ret->ring_entries = ring.params.sq_entries;
	ret->ring_tail = ring.params.sq_off.tail;
	ret->ring_mask = ring.params.sq_off.ring_mask;
	ret->ring_array = ring.params.sq_off.array;
	return 0;
}

static const struct nj_door rows[] = {
	{ "ring-connect", ring_connect },
	{ "ring-send", ring_send },
	{ "ring-inherited", ring_inherited },
};

const struct nj_doors nj_doors_ring = { rows, COUNT(rows) };
