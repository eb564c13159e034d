// The other doors of the CPU into the kernel: 32-bit calls, x32 numbers.
#include <sys/mman.h>

#include "doors.h"

#define X32 0x40000000L

// What 32-bit calls point to, below 4 GiB.
struct low {
	struct sockaddr_in to;
	uint32_t args[6];
	uint32_t message[7];  // struct compat_msghdr
	uint32_t vector[2];   // struct compat_iovec
	char data[NJ_TOKEN_SIZE];
	char stack[64];
	unsigned char code[64];
};

static uint32_t low32(const void *at)
{
	return (uint32_t)(uintptr_t)at;
}

static struct low *low(const struct nj_scene *scene)
{
	struct low *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE | PROT_EXEC,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (page == MAP_FAILED)
		_exit(errno);
	page->to = nj_inet(scene->tcp);
	memcpy(page->data, NJ_TOKEN, NJ_TOKEN_SIZE);
	return page;
}

static int int80(uint32_t number, uint32_t b, uint32_t c, uint32_t d, uint32_t s, uint32_t di,
		 uint32_t bp)
{
	long result;

	__asm__ volatile("pushq %%rbp; movq %[bp], %%rbp; int $0x80; popq %%rbp"
			 : "=a"(result)
			 : "a"((long)number), "b"((long)b), "c"((long)c), "d"((long)d),
			   "S"((long)s), "D"((long)di), [bp] "r"((long)bp)
			 : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)result < 0 ? -(int)result : 0;
}

static int stream(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

// Numbers of arch/x86/entry/syscalls/syscall_32.tbl.
static int i386_connect(const struct nj_scene *scene)
{
	int fd = stream();

	return int80(362, fd, low32(&low(scene)->to), 16, 0, 0, 0) ?: nj_tell(fd);
}

static int i386_socketcall(const struct nj_scene *scene)
{
	struct low *page = low(scene);

	page->args[0] = stream();
	page->args[1] = low32(&page->to);
	page->args[2] = sizeof(page->to);
	// SYS_CONNECT of linux/net.h
	return int80(102, 3, low32(page->args), 0, 0, 0, 0) ?: nj_tell(page->args[0]);
}

static int i386_sendto(const struct nj_scene *scene)
{
	struct low *page = low(scene);

	page->to.sin_port = htons(scene->udp);
	return int80(369, nj_udp(), low32(page->data), sizeof(page->data), 0, low32(&page->to),
		     sizeof(page->to));
}

static struct low *low_message(const struct nj_scene *scene)
{
	struct low *page = low(scene);

	page->to.sin_port = htons(scene->udp);
	page->vector[0] = low32(page->data);
	page->vector[1] = sizeof(page->data);
	page->message[0] = low32(&page->to);
	page->message[1] = sizeof(page->to);
	page->message[2] = low32(page->vector);
	page->message[3] = 1;
	return page;
}

static int i386_sendmsg(const struct nj_scene *scene)
{
	return int80(370, nj_udp(), low32(low_message(scene)->message), 0, 0, 0, 0);
}

static int i386_sendmmsg(const struct nj_scene *scene)
{
	// struct compat_mmsghdr: the header, and a length that follows it.
	return int80(345, nj_udp(), low32(low_message(scene)->message), 1, 0, 0, 0);
}

// In a 32-bit code segment (__USER32_CS), by the fast instruction that this CPU has. The
// kernel returns to a 32-bit vDSO, which is not there: the process dies, after the call.
static int from_segment(const struct low *page, uint32_t frame)
{
	struct {
		uint32_t at;
		uint16_t segment;
	} __attribute__((packed)) far = { low32(page->code), 0x23 };
	long fd = stream();
	register void *to __asm__("r8") = &far;
	register long stack __asm__("r9") = low32(page->stack + 32);
	register long base __asm__("r10") = frame;

	__asm__ volatile("movl %%r9d, %%esp; movl %%r10d, %%ebp; ljmpl *(%%r8)"
			 :
			 : "a"(362L), "b"(fd), "c"((long)low32(&page->to)), "d"(16L),
			   "S"(0L), "D"(0L), "r"(to), "r"(stack), "r"(base)
			 : "memory");
	__builtin_unreachable();
}

static int i386_sysenter(const struct nj_scene *scene)
{
	struct low *page = low(scene);

	memcpy(page->code, "\x0f\x34", 2);
	return from_segment(page, low32(page->stack + 32));
}

// Its second argument is in %ebp: arch/x86/entry/entry_64_compat.S.
static int i386_syscall(const struct nj_scene *scene)
{
	struct low *page = low(scene);

	memcpy(page->code, "\x0f\x05", 2);
	return from_segment(page, low32(&page->to));
}

static int x32_connect(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->tcp);
	int fd = stream();

	return nj_error(syscall(X32 | SYS_connect, fd, &to, sizeof(to))) ?: nj_tell(fd);
}

static int x32_sendto(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->udp);

	return nj_error(syscall(X32 | SYS_sendto, nj_udp(), NJ_TOKEN, NJ_TOKEN_SIZE, 0, &to,
				sizeof(to)));
}

static const struct nj_door rows[] = {
	{ "i386-connect", i386_connect },
	{ "i386-socketcall", i386_socketcall },
	{ "i386-sendto", i386_sendto },
	{ "i386-sendmsg", i386_sendmsg },
	{ "i386-sendmmsg", i386_sendmmsg },
	{ "i386-sysenter", i386_sysenter },
	{ "i386-syscall", i386_syscall },
	{ "x32-connect", x32_connect },
	{ "x32-sendto", x32_sendto },
};

const struct nj_doors nj_doors_abi = { rows, COUNT(rows) };
