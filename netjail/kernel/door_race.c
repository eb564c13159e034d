// Change an address between its check and its use, as fast as memory allows.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "doors.h"

#define VECTOR 4
#define SIDES 2

// What calls read and the flipper writes; a forked flipper shares it.
static struct {
	struct sockaddr_in address;
	struct sockaddr_in sides[SIDES]; // the allowed one, the canary's
	struct msghdr message;
	struct mmsghdr vector[VECTOR];
	struct iovec data;
	char token[NJ_TOKEN_SIZE];
} *page;
static int fd;

// Family, port and address are the first eight bytes: one store.
static void flip_address(int side)
{
	*(volatile uint64_t *)&page->address = *(uint64_t *)&page->sides[side];
}

static void flip_length(int side)
{
	*(volatile socklen_t *)&page->message.msg_namelen = side ? sizeof(page->address) : 0;
}

static void flip_name(int side)
{
	*(void *volatile *)&page->message.msg_name = &page->sides[side];
}

static void flip_vector(int side)
{
	for (int i = 0; i < VECTOR; i++)
		*(void *volatile *)&page->vector[i].msg_hdr.msg_name = &page->sides[side];
}

static void call_sendto(void)
{
	nj_send(fd, &page->address, sizeof(page->address), 0);
}

static void call_sendmsg(void)
{
	sendmsg(fd, &page->message, 0);
}

static void call_sendmmsg(void)
{
	sendmmsg(fd, page->vector, VECTOR, 0);
}

static void call_connect(void)
{
	struct linger reset = { 1, 0 }; // leave no port in TIME_WAIT
	int client = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	connect(client, (void *)&page->address, sizeof(page->address));
	close(client);
}

// Each side is held for a varying while: no phase of a checker is missed.
static void *flip_for_ever(void *flip)
{
	void (*to)(int) = (void (*)(int))flip;

	for (unsigned int round = 0;; round++)
		for (int side = 0; side < SIDES; side++) {
			to(side);
			for (volatile unsigned int i = 0; i < round % 512; i++)
				;
		}
	return NULL;
}

static int set_up(uint16_t allowed, uint16_t denied)
{
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return errno;
	page->sides[0] = page->address = nj_inet(allowed);
	page->sides[1] = nj_inet(denied);
	memcpy(page->token, NJ_TOKEN, NJ_TOKEN_SIZE);
	page->data = (struct iovec){ page->token, NJ_TOKEN_SIZE };
	page->message = (struct msghdr){ .msg_name = &page->address, .msg_iov = &page->data,
					 .msg_namelen = sizeof(page->address), .msg_iovlen = 1 };
	for (int i = 0; i < VECTOR; i++)
		page->vector[i].msg_hdr = page->message;
	fd = nj_udp();
	return 0;
}

static int start(void (*flip)(int), bool process)
{
	pthread_t thread;
	int pid;

	if (!process)
		return pthread_create(&thread, NULL, flip_for_ever, (void *)flip);
	pid = fork();
	if (pid)
		return nj_error(pid);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	flip_for_ever((void *)flip);
	return 0;
}

static int race(const struct nj_scene *scene, void (*flip)(int), void (*call)(void), bool process)
{
	int error = start(flip, process);

	for (uint64_t end = nj_end(scene); !error && nj_now() < end;)
		call();
	return error;
}

static int race_udp(const struct nj_scene *scene, void (*flip)(int), void (*call)(void),
		    bool process)
{
	return set_up(scene->allowed_udp, scene->udp) ?: race(scene, flip, call, process);
}

static int race_address(const struct nj_scene *scene)
{
	return race_udp(scene, flip_address, call_sendto, false);
}

static int race_address_process(const struct nj_scene *scene)
{
	return race_udp(scene, flip_address, call_sendto, true);
}

static int race_name(const struct nj_scene *scene)
{
	return race_udp(scene, flip_name, call_sendmsg, false);
}

static int race_vector(const struct nj_scene *scene)
{
	return race_udp(scene, flip_vector, call_sendmmsg, false);
}

static int race_vector_process(const struct nj_scene *scene)
{
	return race_udp(scene, flip_vector, call_sendmmsg, true);
}

static int race_connect(const struct nj_scene *scene)
{
	return set_up(scene->allowed_tcp, scene->tcp) ?:
	       race(scene, flip_address, call_connect, false);
}

// Connected to the allowed one: without a name that is where it goes.
static int race_length(const struct nj_scene *scene)
{
	int error = set_up(scene->allowed_udp, scene->udp);

	if (error || connect(fd, (void *)&page->sides[0], sizeof(page->sides[0])))
		return error ?: errno;
	page->message.msg_name = &page->sides[1];
	return race(scene, flip_length, call_sendmsg, false);
}

// -- A page that is filled when it is read ----

static char *missing;
static int faults;

static void *fill(void *unused)
{
	char filled[4096] = { 0 };
	struct uffd_msg message;
	struct uffdio_copy copy = { (uintptr_t)missing, (uintptr_t)filled, sizeof(filled), 0, 0 };

	memcpy(filled, &page->sides[1], sizeof(page->sides[1]));
	while (read(faults, &message, sizeof(message)) == sizeof(message))
		ioctl(faults, UFFDIO_COPY, &copy);
	return unused;
}

static int race_fault(const struct nj_scene *scene)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range.len = 4096, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int error = set_up(scene->allowed_udp, scene->udp);
	pthread_t thread;

	missing = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)missing;
	faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (error || faults < 0 || ioctl(faults, UFFDIO_API, &api) ||
	    ioctl(faults, UFFDIO_REGISTER, &range))
		return error ?: errno;
	return pthread_create(&thread, NULL, fill, NULL) ?:
	       nj_send(fd, missing, sizeof(struct sockaddr_in), 0);
}

static const struct nj_door rows[] = {
	{ "race-address", race_address },
	{ "race-address-process", race_address_process },
	{ "race-length", race_length },
	{ "race-name", race_name },
	{ "race-vector", race_vector },
	{ "race-vector-process", race_vector_process },
	{ "race-connect", race_connect },
	{ "race-fault", race_fault },
};

const struct nj_doors nj_doors_race = { rows, COUNT(rows) };
