"""Where a listener listens, asked of sock_diag(7): a port in, a device out."""

from __future__ import annotations

import socket
import struct

_SOCK_DIAG, _BY_FAMILY = 4, 20  # NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_DONE, _ERROR = 3, 2
_LISTENING = 1 << 10  # TCP_LISTEN of include/net/tcp_states.h


def device(port: int) -> int | None:
    """
    The index of the device that the IPv4 TCP listener on *port* is bound to, 0 for any.

    :returns: None if nobody listens there.
    :raises OSError: if the kernel does not answer, see sock_diag(7).
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as ask:
        # struct inet_diag_req_v2, with an empty struct inet_diag_sockid.
        body = struct.pack("=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, _LISTENING)
        ask.settimeout(5)
        ask.send(struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, _DUMP, 1, 0) + body)
        found = None
        while True:
            answer = ask.recv(1 << 16)
            while len(answer) >= 16:
                size, kind = struct.unpack_from("=IH", answer)
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", answer, 16)[0]
                    raise OSError(number, "sock_diag")
                # struct inet_diag_msg: four bytes, then the ports in network order.
                if struct.unpack_from(">H", answer, 20)[0] == port:
                    found = struct.unpack_from("=I", answer, 56)[0]
                answer = answer[(size + 3) & ~3 :]
