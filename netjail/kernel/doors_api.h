// What Python sees of the doctor's probes; parsed by cffi as api.h is.

// ---- door.c: the doctor's probes ----

// What a probe is told: where canaries are, and whom to attack. A port is 0, a pid or a
// descriptor -1 where there is none. All addresses are loopback's.
struct nj_scene {
	uint16_t allowed_tcp, allowed_udp;  // what the jail's rules allow
	uint16_t tcp, udp, tcp6, udp6;      // and what they do not
	uint16_t udplite, sctp, dccp;
	uint16_t shared;     // of a canary that shares it (SO_REUSEPORT)
	uint16_t elsewhere;  // in the network namespace of `stranger`
	uint16_t spare;      // nobody's: a probe may listen there
	uint32_t vsock;
	int32_t victim;      // a process outside, of the same user
	int32_t stranger;    // another, in namespaces of its own
	int32_t held;        // the victim's descriptor of a connected socket
	uint64_t cell;       // a number in the victim's memory
	int32_t socket;      // inherited: a connected socket
	int32_t ring;        // inherited: an io_uring whose thread works for the doctor
	int32_t ring_socket; // the doctor's descriptor that the ring can send on
	uint64_t ring_data;  // NJ_TOKEN in the doctor's memory
	uint32_t ring_entries, ring_tail, ring_mask, ring_array; // struct io_sqring_offsets
	uint32_t milliseconds; // how long a race shall last
	char path[108];      // of a unix listener
	char datagrams[108]; // of a unix datagram socket
	char abstract[108];  // without the NUL
	char python[512];    // an interpreter, to exec
};

struct nj_tried {
	int32_t error;   // the errno that the probe met, 0: none
	int32_t signal;  // it died by this
	int32_t hung;    // flag: it was ended when its time was over
};

const char *nj_door_name(uint32_t index);
int nj_door_try(uint32_t index, const struct nj_scene *scene, uint32_t bound,
		struct nj_tried *ret);

// ---- door_victim.c: whom the probes attack ----

// What the victim and the doctor share.
struct nj_cell {
	uint64_t number;   // 0, until somebody writes
	uint32_t signals;  // that came
	uint32_t ready;    // flag: it has its handlers
};

int nj_victim(struct nj_cell **ret_cell, int32_t *ret);
int nj_stranger(uint16_t *ret_port, int32_t *ret_socket, int32_t *ret);

// ---- door_ring.c: a ring to be inherited; fills the scene's fields of a ring ----

int nj_ring(struct nj_scene *ret);
