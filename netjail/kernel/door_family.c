// Protocols and families that carry packets past TCP and UDP.
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/vm_sockets.h>
#include <net/if.h>

#include "doors.h"

#define UDPLITE 136
#define SCTP 132
#define DCCP 33
#ifndef SOCK_DCCP
#define SOCK_DCCP 6
#endif

static int udplite(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->udplite);

	return nj_send(socket(AF_INET, SOCK_DGRAM, UDPLITE), &to, sizeof(to), 0);
}

static int sctp_connect(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->sctp);

	return nj_connect(SOCK_STREAM, SCTP, &to, sizeof(to));
}

// SCTP_SOCKOPT_CONNECTX: the address is an option's value.
static int sctp_connectx(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->sctp);
	int fd = socket(AF_INET, SOCK_STREAM, SCTP);

	if (fd < 0 || setsockopt(fd, SCTP, 110, &to, sizeof(to)) < 0)
		return errno;
	return nj_tell(fd);
}

static int dccp_connect(const struct nj_scene *scene)
{
	struct sockaddr_in to = nj_inet(scene->dccp);

	return nj_connect(SOCK_DCCP, DCCP, &to, sizeof(to));
}

static int vsock_connect(const struct nj_scene *scene)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL,
				  .svm_port = scene->vsock };
	struct timeval soon = { 0, 200000 }; // without a loopback nobody answers
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &soon, sizeof(soon));
	return nj_error(connect(fd, (void *)&to, sizeof(to))) ?: nj_tell(fd);
}

// An IPv4 packet with a datagram, made by hand.
struct packet {
	uint8_t version, service;
	uint16_t length, id, fragment;
	uint8_t ttl, protocol;
	uint16_t checksum;
	uint32_t from, to;
	uint16_t source, destination, size, none;
	char data[NJ_TOKEN_SIZE];
} __attribute__((packed));

static uint16_t checksum(const void *data, size_t size)
{
	uint32_t sum = 0;
	uint16_t word;

	for (size_t i = 0; i + 1 < size; i += 2) {
		memcpy(&word, (const char *)data + i, 2);
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~(sum + (sum >> 16));
}

static struct packet packet(uint16_t port)
{
	struct packet made = {
		.version = 0x45, .length = htons(sizeof(made)), .ttl = 64, .protocol = IPPROTO_UDP,
		.from = htonl(INADDR_LOOPBACK), .to = htonl(INADDR_LOOPBACK),
		.source = htons(port), .destination = htons(port),
		.size = htons(8 + NJ_TOKEN_SIZE),
	};

	memcpy(made.data, NJ_TOKEN, NJ_TOKEN_SIZE);
	made.checksum = checksum(&made, 20);
	return made;
}

static int raw(const struct nj_scene *scene)
{
	struct packet made = packet(scene->udp);
	struct sockaddr_in to = nj_inet(0);

	return nj_error(sendto(socket(AF_INET, SOCK_RAW, IPPROTO_RAW), &made, sizeof(made), 0,
			       (void *)&to, sizeof(to)));
}

// To where the doctor's packet socket sees it: the kernel takes no packet for 127.0.0.0/8
// that it did not route itself.
static int packet_socket(const struct nj_scene *scene)
{
	struct packet made = packet(scene->udp);
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				  .sll_ifindex = (int)if_nametoindex("lo"), .sll_halen = 6 };

	made.to = htonl(INADDR_LOOPBACK + 8);
	return nj_error(sendto(socket(AF_PACKET, SOCK_DGRAM, 0), &made, sizeof(made), 0,
			       (void *)&to, sizeof(to)));
}

static const struct nj_door rows[] = {
	{ "udplite", udplite },
	{ "sctp-connect", sctp_connect },
	{ "sctp-connectx", sctp_connectx },
	{ "dccp-connect", dccp_connect },
	{ "vsock-connect", vsock_connect },
	{ "raw-socket", raw },
	{ "packet-socket", packet_socket },
};

const struct nj_doors nj_doors_family = { rows, COUNT(rows) };
