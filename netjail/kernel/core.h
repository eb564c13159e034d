// What the files of the core share.
//
// Conventions: every function returns 0 (or a count) or -errno; out-parameters
// come last and are called ret.
#ifndef NJ_CORE_H
#define NJ_CORE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>

#include "abi.h"
#include "api.h"
#include "cache.h"
#include "descriptor.h"
#include "sources.h"

// The vault lies below every program that the usual linkers (lld's 0x200000 is the
// lowest) and valgrind (0x108000) place, above mmap_min_addr; syscalls.py has the same two.
#define NJ_VAULT_BASE 0x20000ULL
#define NJ_VAULT_SIZE 0xE0000ULL
#define NJ_VAULT_END (NJ_VAULT_BASE + NJ_VAULT_SIZE)
#define NJ_SLOT_SIZE 2048
#define NJ_SLOTS (NJ_VAULT_SIZE / NJ_SLOT_SIZE)  // the first one is for sources.c

// struct sockaddr_storage: the most that the kernel takes, net/socket.c
// move_addr_to_kernel().
#define NJ_NAME_MAX 128
// Where the parts of a sendmsg lie in a slot.
#define NJ_SLOT_NAME 64
#define NJ_SLOT_CONTROL (NJ_SLOT_NAME + NJ_NAME_MAX)
#define NJ_CONTROL_MAX (NJ_SLOT_SIZE - NJ_SLOT_CONTROL)
#define NJ_LOOPBACK_DEVICE 1  // lo, in every network namespace: net/core/dev.c
// UIO_MAXIOV: sendmmsg takes no more messages, net/socket.c.
#define NJ_MESSAGES_MAX 1024

#define NJ_ARGV_SHOWN 4096  // as much of a command line as reports show

// What a program is called; shared by the processes forked from it.
struct nj_image {
	uint32_t refs;
	char *exe;   // the program's path; NULL until somebody asks
	char *name;  // the file that execve(2) was given, or NULL
	char *argv;  // NUL-separated, as in /proc/<pid>/cmdline
	uint32_t argv_size;
	// Only where rules ask who calls, see caller.c.
	struct nj_image *before;  // what it took the place of by exec: who started it
	uint32_t depth;
	bool lost;     // more came before
	bool proven;   // `exe` leads, from where we stand, to the very file that runs
	bool whole;    // `argv` is all of it
	bool adopted;  // of a task that nobody announced: only `exe` is its own
};

// A process between two execs; kept while it lives and while a descendant does,
// so that a dead parent can still be named.
struct nj_process {
	uint64_t id;
	struct nj_process *parent;
	struct nj_image *image;
	uint32_t refs;     // tasks and children
	int32_t pid;
	uint32_t threads;
	uint32_t depth;
	bool forked;       // from a process of the same image
	bool files_shared; // another process may share its descriptor table
	bool vault;        // the mapping was verified since the last fork or exec
	bool filtered;     // it may have seccomp filters of its own
	bool undumpable;   // it asked not to be dumpable; we only remember it
	enum nj_sources sources;
};

enum nj_stage {
	NJ_RUNNING,       // not stopped, or stopped for something that we resume at once
	NJ_PARKED,        // at its seccomp stop; Python decides
	NJ_IN_CALL,       // the pinned call runs; its exit stop comes next
	NJ_NEXT_MESSAGE,  // a sendmmsg enters the kernel again for its next message
	NJ_RECEIVING,     // in a call that may tell the stub's address
	NJ_INJECT_FD,     // waits in the notification for the vault's descriptor
	NJ_INJECT_MAP,    // about to enter mmap
	NJ_INJECT_MAPPED, // in mmap
	NJ_INJECT_CLOSE,  // about to enter close
	NJ_INJECT_CLOSED, // in close
	NJ_INJECT_SEAL,   // about to enter mseal
	NJ_INJECT_SEALED, // in mseal
	NJ_INJECT_FILTER, // in seccomp, see sources.c
};

// One network call on its way through judging and pinning.
struct nj_call {
	int32_t row;
	int32_t shape;
	const struct nj_abi *abi;
	struct __ptrace_syscall_info info;  // as judged: of a folded call what it runs as
	uint64_t number;        // as its caller has it, and will have it again at the end
	uint64_t registers[6];
	uint32_t words;         // of a folded call: how many arguments it has
	struct nj_descriptor descriptor;
	int32_t duplicate;      // ours of the tracee's descriptor, -1 if none (listen)
	int32_t fault;          // errno that the kernel would give before any use
	bool named;
	uint32_t name_size;
	uint8_t name[NJ_NAME_MAX];
	struct msghdr message;  // sendmsg and sendmmsg: as read
	uint8_t control[NJ_CONTROL_MAX];
	uint32_t index;         // sendmmsg: the message under way
	uint32_t sent;          // sendmmsg: messages that went out
	bool steered;           // the program chose the device that it leaves by
	bool held;              // it goes to `path` instead: through the holder, to the stub
	bool led;               // that is the stub
	uint32_t path_size;
	uint8_t path[NJ_NAME_MAX];
	uint32_t changed;       // bits of the argument registers that are not the caller's
	bool renumbered;        // nor is its number
};

struct nj_task {
	struct nj_task *next;  // in its bucket
	int32_t tid;
	struct nj_process *process;
	enum nj_stage stage;
	bool adopted;          // placed by a guess; its parent's event may still come
	int32_t pidfd;         // -1: not opened yet, or no room for it
	int32_t slot;          // -1: none
	uint64_t token;        // of the attempt under way, 0 if nobody asked for its result
	struct nj_call *call;
	struct user_regs_struct saved;  // before the injection
	uint64_t mask;         // blocked signals before the injection
	int32_t injected_fd;
	uint32_t tries;        // injections for the call under way
	int32_t vault_error;   // why the last of them failed
	struct nj_lending lending;
	// A call that will come through the filter again and is no new attempt.
	bool again;
	bool told;             // its result so far, EINTR, is in the journal
	uint32_t again_arch;
	uint64_t again_ip;
	uint64_t again_number;
	uint64_t again_args[6];
};

#define NJ_BUCKETS 8192
#define NJ_UNCLAIMED 256
#define NJ_LUCK_MAX 16
#define NJ_GONE 4096

struct nj_jail {
	struct nj_config config;
	struct nj_shared *shared;
	int32_t front;
	int32_t command;
	int32_t holder;        // pid, 0 before its fork, -1 once it is gone
	int32_t holder_channel;
	bool holder_ready;
	uint32_t held;         // files handed to it so far
	int32_t channel;       // towards the front's children until the exec
	int32_t listener;      // seccomp notifications, -1 before the filter exists
	bool launching;        // our own code still runs in the child
	bool seal;             // the kernel has mseal
	bool lends;            // pidfd_getfd is refused
	int32_t launch_error;
	uint8_t *vault;
	int32_t vault_fd;      // read-only, what tracees map
	uint64_t vault_device;
	uint64_t vault_inode;
	int32_t free_slots[NJ_SLOTS];
	uint32_t free_count;
	uint64_t next_process;
	uint32_t tasks;
	int32_t unclaimed[NJ_UNCLAIMED];  // children that stopped before their parent's event
	bool some_unclaimed;
	struct nj_task *buckets[NJ_BUCKETS];
	struct nj_cached *cache;
	struct nj_count *drained;  // counts of evicted entries, waiting for Python
	uint32_t drained_count;
	uint32_t drained_size;
	struct nj_gone gone[NJ_GONE];
	uint32_t gone_count;
	bool spin;             // asking before sleeping can pay: we have several CPUs
	bool mark;             // a call is on its way: its next stop may be near
	uint32_t luck;         // how often asking paid lately
	uint32_t passed;
	struct nj_source sources[NJ_SOURCES];
	uint32_t source_count;
	struct nj_stop *stop;  // what the current nj_next fills in
};

// tasks.c
struct nj_task *nj_task_find(struct nj_jail *jail, int32_t tid);
int nj_task_add(struct nj_jail *jail, int32_t tid, struct nj_process *process,
		struct nj_task **ret);
void nj_task_remove(struct nj_jail *jail, struct nj_task *task);
void nj_group_ended(struct nj_jail *jail, const struct nj_task *leader);
int nj_process_new(struct nj_jail *jail, int32_t pid, struct nj_process *parent,
		   struct nj_image *image, struct nj_process **ret);
void nj_process_release(struct nj_process *process);
int nj_process_exec(struct nj_jail *jail, struct nj_task *task);

// births.c
int nj_adopt(struct nj_jail *jail, int32_t tid);
int nj_unclaimed(struct nj_jail *jail, int32_t tid);
void nj_adopt_unclaimed(struct nj_jail *jail);
void nj_ended_unclaimed(struct nj_jail *jail, int32_t tid);
int nj_born(struct nj_jail *jail, struct nj_task *parent, int32_t tid);

// image.c
void nj_image_release(struct nj_image *image);
const char *nj_image_exe(struct nj_image *image, int32_t living);
int nj_image_read(const struct nj_jail *jail, int32_t tid, struct nj_image **ret);
int nj_image_read_exe(const struct nj_jail *jail, int32_t tid, struct nj_image **ret);
void nj_read_family(int32_t tid, int32_t *ret_tgid, int32_t *ret_parent);

// caller.c
void nj_image_prove(struct nj_image *image, int32_t tid);
void nj_image_follow(struct nj_image *image, struct nj_image *before);

// memory.c: all return the bytes moved or -errno
int64_t nj_read(int32_t tid, uint64_t address, void *data, size_t size);
int64_t nj_write(int32_t tid, uint64_t address, const void *data, size_t size);

// filter.c
uint32_t nj_evaluate(const struct nj_config *config, uint32_t arch, uint32_t number,
		     uint64_t ip, const uint64_t args[6]);

// read.c
const struct nj_row *nj_row_of(const struct nj_jail *jail, const struct nj_task *task);
const uint64_t *nj_args_of(const struct nj_task *task);
int nj_read_exactly(int32_t tid, uint64_t address, void *data, size_t size);
void nj_read_call(struct nj_jail *jail, struct nj_task *task);
bool nj_names_device(const struct nj_call *call);
void nj_steer(struct nj_call *call);

// judge.c: 1 if Python is to decide or to be told, else 0 or -errno
void nj_remember_again(struct nj_task *task);
bool nj_is_again(const struct nj_task *task);
void nj_own_socket(struct nj_jail *jail, const struct nj_descriptor *descriptor);
int nj_ask_python(struct nj_jail *jail, struct nj_task *task);
int nj_judge(struct nj_jail *jail, struct nj_task *task);
int nj_finish(struct nj_task *task, int64_t result);
int nj_refuse(struct nj_jail *jail, struct nj_task *task, int error);

// pin.c
bool nj_folded(const struct nj_call *call);
int nj_pin(struct nj_jail *jail, struct nj_task *task);
int nj_go_on(struct nj_task *task);
int nj_run(struct nj_task *task);
int nj_run_with(struct nj_task *task, int argument, uint64_t value);
uint32_t nj_messages_of(const struct nj_jail *jail, const struct nj_task *task);
int nj_call_exit(struct nj_jail *jail, struct nj_task *task);
int nj_call_cut_short(struct nj_task *task);

// calls.c
int nj_call_stop(struct nj_jail *jail, struct nj_task *task);

// shapes.c
int nj_act_on(struct nj_jail *jail, struct nj_task *task);

// vault.c
int nj_vault_open(struct nj_jail *jail);
int nj_vault_verify(struct nj_jail *jail, int32_t tid);
int nj_slot_take(struct nj_jail *jail, struct nj_task *task, uint8_t **ret, uint64_t *ret_address);
void nj_slot_free(struct nj_jail *jail, struct nj_task *task);

// inject.c
int nj_inject_filter(struct nj_jail *jail, struct nj_task *task);
int nj_inject(struct nj_jail *jail, struct nj_task *task);
int nj_inject_stop(struct nj_jail *jail, struct nj_task *task, bool *ret_own);
void nj_inject_abandon(struct nj_task *task);
void nj_answer_strangers(struct nj_jail *jail);  // notify.c

// paths.c, passing.c, holder.c, capabilities.c, inbound.c
int nj_open_task(int32_t tid, const char *name, int flags);
int nj_same_file(int fd, int32_t tid, const char *name);
int nj_send_descriptor(int channel, int fd, int32_t number);
int nj_receive_descriptor(int channel, int flags, int32_t *ret_number);
void nj_holder_run(int channel);
int nj_holder_stop(struct nj_jail *jail, int status);
int nj_capabilities_drop(uint64_t dropped);
int nj_close_to_others(int fd);

// kill.c
bool nj_in_own_namespace(int32_t tid);
int nj_signal_call(struct nj_jail *jail, struct nj_task *task);
int nj_signal_unmark(int32_t tid);

// signals.c
int nj_request(const struct nj_task *task);
int nj_signal_stop(struct nj_jail *jail, struct nj_task *task, int signal);

// watch.c
uint64_t nj_now(void);
bool nj_ticked(void);
int nj_cling(void);

#endif
