// What Python sees of the core. cffi parses this file as it stands: plain
// declarations only, no preprocessor. Each section names its C file.

// ---- front.c: the process that the shell started ----

// A signal on its way to the command. In `seen` the supervisor writes what it saw
// arrive, in `sent` the front what it is about to forward; a pair is one signal.
struct nj_seen {
	int32_t signal;
	int32_t sender;   // si_pid, 0 from the kernel
	uint64_t when;    // CLOCK_MONOTONIC, nanoseconds
	int32_t taken;    // 1: it has its pair; 2: forwarded, and it arrived alone
};

// What the front and the supervisor share, MAP_SHARED | MAP_ANONYMOUS.
struct nj_shared {
	int32_t command;      // pid of the command, 0 before its fork
	int32_t ended;        // supervisor: 1 once exit_code and exit_signal hold
	int32_t exit_code;    // 0 to 255: how the front exits
	int32_t exit_signal;  // > 0: the front dies by it instead
	int32_t give_up;      // front: 1 asks the supervisor to end what is left
	uint32_t head;        // supervisor: the ring's next index, ever growing
	struct nj_seen seen[64];
	uint32_t sent_head;   // front: the same for `sent`
	struct nj_seen sent[64];
	int32_t halted;       // supervisor: 1 when it stopped the command with the front
	int32_t held;         // supervisor: 1: the command is in a group-stop, -1: ended
	uint32_t continues;   // supervisor: how often the front was sent SIGCONT
	int32_t stopping;     // front: 1 while it stops because the command did
	uint32_t mirrored;    // front: `continues` as it was when the front chose to stop
	int32_t lent;         // 1: the command's own group held the terminal at a stop
};

int nj_shared_new(struct nj_shared **ret);
int nj_front(struct nj_shared *shared, int supervisor, int *ret);
void nj_leave(int signal);

// ---- relay.c: the supervisor's half of the front ----

int nj_front_stopped(struct nj_shared *shared, int front, int status);
int nj_command_changed(struct nj_shared *shared, int front, int status);
int nj_arrived(struct nj_shared *shared, int tid, int *ret);
int nj_lend_terminal(int front, int command, int tid, int *ret);

// ---- probe.c: what this host offers ----

// Each int that is not said to be a flag or a number is 0 or the errno of a try.
struct nj_host {
	int32_t landlock;  // the ABI's number, 0: none
	int32_t mseal;     // flag
	int32_t jailed;    // flag: a netjail holds this process
	int32_t trace;     // SECCOMP_RET_TRACE
	int32_t notify;    // SECCOMP_RET_USER_NOTIF
	int32_t listener;  // a filter with a listener
	int32_t notification;  // a call that the listener is told of
	int32_t seal;      // a memfd with F_SEAL_FUTURE_WRITE
	int32_t seize;     // PTRACE_SEIZE of a child
	int32_t readv;     // process_vm_readv of a child
	int32_t getfd;     // pidfd_getfd of a child
	int32_t diag;      // sock_diag and rtnetlink
};

// `number` is the call that fetches the vault.
int nj_probe(uint32_t number, struct nj_host *ret);

// ---- launch.c: from fork to exec ----

struct nj_launch {
	struct nj_shared *shared;  // what is forked does not get it
	const char *file;
	char **argv;
	char **envp;
	const void *filter;        // struct sock_filter[filter_length]
	uint16_t filter_length;
	int32_t channel;           // a SOCK_SEQPACKET socket to the supervisor
	int32_t holder;            // a SOCK_SEQPACKET socket: files to hold, see holder.c
	int32_t attached;          // a pipe: the supervisor writes when it holds us
	int32_t supervisor;
	uint64_t landlock_scoped;  // LANDLOCK_SCOPE_*; 0: no domain
	uint64_t dropped;          // a bit for each capability that the command loses
	const int32_t *closed;     // descriptors that do not cross the exec
	uint32_t closed_count;
};

void nj_hold_signals(void);
int nj_launch(const struct nj_launch *launch, int32_t *ret);

// ---- capabilities.c ----

int nj_capabilities(uint64_t *ret);

// ---- tracer.c: the loop ----

// How a trapped call is read and answered; syscalls.Shape has the same values.
enum nj_shape {
	NJ_CONNECT = 1,
	NJ_SENDTO,
	NJ_SENDMSG,
	NJ_SENDMMSG,
	NJ_LISTEN,
	NJ_BIND,
	NJ_SOCKET,
	NJ_MAP,
	NJ_SHUT,
	NJ_CLONE,
	NJ_DUMPABLE,
	NJ_PRLIMIT,
	NJ_FILTER,
	NJ_FOLDED,
	NJ_SIGNAL
};

// A row of syscalls.ROWS, for the core.
struct nj_row {
	int32_t shape;
	int32_t descriptor;  // argument indices, -1: none
	int32_t name;
	int32_t length;
	int32_t flags;
	int32_t error;
	int32_t runs;        // a folded call: the number that it runs as,
	uint32_t words;      // and how many arguments lie where `name` points
};

struct nj_owners;
struct nj_config {
	const struct nj_row *rows;
	uint32_t row_count;
	const void *filter;
	uint32_t filter_length;
	uint32_t notify_number;  // the syscall that fetches the vault
	uint32_t notify_number_i386;
	uint64_t notify_key;
	int32_t callers;         // flag: rules ask who calls
	struct nj_owners *owners;
};

enum nj_kind {
	NJ_CALL = 1,   // a call to judge; its caller is stopped until it is answered
	NJ_RESULT,     // the call of a token ended
	NJ_TICK,       // the timer, or somebody woke us
	NJ_EXITED,     // the command itself ended; status as wait(2) gives it
	NJ_DONE,       // no process is left
	NJ_STARTED,    // the command runs
	NJ_NOT_STARTED // status 1: confining it failed, 2: its exec, 0: it died; result: errno
};

struct nj_descriptor {
	int32_t error;
	int32_t domain;
	int32_t type;
	int32_t protocol;
	int32_t device;      // that it is tied to, 0: none
	uint64_t cookie;
	uint64_t netns;
	int32_t shared;
};

struct nj_stop {
	int32_t kind;
	int32_t tid;
	int32_t pid;
	int32_t row;
	uint64_t process;
	uint32_t arch;
	int32_t number;
	uint64_t args[6];
	int32_t fault;
	int32_t again;       // a restarted call: judge it, but it is no new attempt
	int32_t named;
	uint32_t name_size;
	uint8_t name[128];
	struct nj_descriptor descriptor;
	uint64_t token;
	int64_t result;
	int32_t status;
};

// Whether a verdict holds for the same call again, and for which descriptors.
enum nj_cache {
	NJ_CACHE_NOT,
	NJ_CACHE_KIND,  // for those of the same kind
	NJ_CACHE_ANY    // for every one that the jail could have
};

struct nj_count {
	uint64_t token;
	uint64_t count;
	int32_t forgotten;   // the token will not be counted again
};

// An attempt whose call ended without the kernel's answer.
struct nj_gone {
	uint64_t token;  // 0: nobody asked for its result
	int32_t cause;   // 0: its caller ended; else why our copy could not be had: ENOBUFS
};

struct nj_ancestor {
	uint64_t id;
	int32_t pid;
	const char *exe;
	const char *argv;
	uint32_t argv_size;
};

// A program that calls, or that stands above the caller.
struct nj_caller {
	const char *exe;     // "" where it is not proven
	const char *argv;
	uint32_t argv_size;
	int32_t whole;       // flag: that is all of its arguments
	int32_t forked;      // flag: a process of the same program started it
};

struct nj_jail;
int nj_jail_new(const struct nj_config *config, struct nj_shared *shared, int32_t channel,
		int32_t holder, struct nj_jail **ret);
int nj_watch_start(const struct nj_jail *jail);
int nj_await_child(struct nj_jail *jail, int32_t *ret);
int nj_attach(struct nj_jail *jail, int32_t front, int32_t command);
int nj_next(struct nj_jail *jail, struct nj_stop *ret);
int nj_waits(struct nj_jail *jail, int32_t tid, uint64_t process);
int nj_is_stopped(int32_t tid);
int nj_allow(struct nj_jail *jail, int32_t tid, uint64_t token, int32_t cache);
int nj_deny(struct nj_jail *jail, int32_t tid, int32_t error, uint64_t token, int32_t cache);
int nj_answer(struct nj_jail *jail, int32_t tid, int64_t result);
int nj_pass(struct nj_jail *jail, int32_t tid);
int nj_listen(struct nj_jail *jail, int32_t tid, int32_t local, int32_t *ret);
int nj_rename(struct nj_jail *jail, int32_t tid, const uint8_t *name, uint32_t size);
int nj_ancestor(struct nj_jail *jail, int32_t tid, uint32_t depth, struct nj_ancestor *ret);
int nj_caller(struct nj_jail *jail, int32_t tid, uint64_t process, uint32_t step,
	      struct nj_caller *ret);
int nj_drain(struct nj_jail *jail, struct nj_count *ret, uint32_t capacity);
void nj_forget_any(struct nj_jail *jail);
int nj_gone(struct nj_jail *jail, struct nj_gone *ret, uint32_t capacity);
int nj_living(struct nj_jail *jail, int32_t *ret, uint32_t capacity);
int nj_hold(struct nj_jail *jail, int32_t fd, char *ret, uint32_t size);
int nj_timer(uint32_t milliseconds);
int nj_supervise_alone(int32_t front);
void nj_watch_begin(void);
void nj_watch_end(void);

// ---- redirect.c: calls that are led elsewhere ----

int nj_local_port(struct nj_jail *jail, int32_t tid);
int nj_lead(struct nj_jail *jail, int32_t tid, const uint8_t *name, uint32_t size);

// ---- sources.c: who answers, as the program is to see it ----

struct nj_source {
	uint8_t means[16];  // the name server that the program meant; IPv4 is v4-mapped
	uint32_t scope;
	uint16_t means_port;
	uint16_t port;      // the stub's, on 127.0.0.1 (mapped) or ::1
	int32_t mapped;     // flag
};

int nj_source_add(struct nj_jail *jail, const struct nj_source *source);

// ---- diag.c: who listens ----

enum nj_owner {
	NJ_OWNER_JAIL,     // every socket that could receive is the jail's own
	NJ_OWNER_OUTSIDE,
	NJ_OWNER_NOBODY,
	NJ_OWNER_REMOTE,   // not an address of this machine
	NJ_OWNER_UNKNOWN,  // the kernel did not say
};

int nj_owners_new(struct nj_owners **ret);
void nj_owners_free(struct nj_owners *owners);
int nj_owners_add(struct nj_owners *owners, uint64_t cookie);
int nj_owners_listener(struct nj_owners *owners, int fd);
uint32_t nj_owners_count(const struct nj_owners *owners);
int nj_owner_inet(struct nj_owners *owners, int protocol, int family, const uint8_t *address,
		  int port, int device);
int nj_owner_unix(struct nj_owners *owners, int type, uint32_t device, uint32_t inode,
		  const uint8_t *name, size_t size);
int nj_unix_type(struct nj_owners *owners, uint32_t device, uint32_t inode);
int nj_netns_cookie(uint64_t *ret);

// ---- paths.c: a tracee's paths, as the tracee would resolve them ----

int nj_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve);
int nj_may_write(int fd);
int nj_filesystem(int fd, int64_t *ret);
int nj_same_inode(int fd, const char *path);
int nj_fs_credentials(uint32_t uid, uint32_t gid, const uint32_t *groups, size_t count);
