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
	uint32_t resumed;     // supervisor: how often the command left one, or ended
	uint32_t mirrored;    // front: `resumed` as it was when the front chose to stop
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
	int32_t seal;      // a memfd with F_SEAL_FUTURE_WRITE
	int32_t seize;     // PTRACE_SEIZE of a child
	int32_t readv;     // process_vm_readv of a child
	int32_t getfd;     // pidfd_getfd of a child
};

int nj_probe(struct nj_host *ret);
