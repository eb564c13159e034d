"""
Questions of the jail: bytes in, a name and a type out; and the answers as bytes.

Nothing of what a program sends goes any further than here but the name in lower case
and the type. Importing this imports dnspython: leave it to the stub's thread.
"""

from __future__ import annotations

from collections.abc import Iterable

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import msgspec

from netjail.endpoints import Address
from netjail.names.lookups import Reply

LONGEST = 4096
"""Bytes of a question: a name has 255 at most, and options have no reader here."""
_HEADER = 12
_SMALLEST = 512  # of a datagram's answer, RFC 1035, 4.2.1
_LARGEST = 4096
_TTL = 5  # of what is known without a name server

# What programs ask for. Each type more is a letter more to write with to the servers of
# an allowed name, so the list is short; ANY is refused as RFC 8482 has it.
KINDS = frozenset(
    {"A", "AAAA", "CAA", "CNAME", "DNAME", "DNSKEY", "DS", "HTTPS", "LOC", "MX", "NAPTR", "NS"}
    | {"PTR", "SOA", "SPF", "SRV", "SSHFP", "SVCB", "TLSA", "TXT", "URI"}
)


class Asked(msgspec.Struct, frozen=True):
    """A question that can be judged."""

    query: dns.message.Message
    name: str
    """See ``endpoints.Question``."""
    kind: str


def read(raw: bytes) -> Asked | bytes:
    """
    Read a question.

    :returns: the answer, where it is none that could be asked; no bytes: it deserves none.
    """
    if len(raw) < _HEADER or raw[2] & 0x80:
        return b""  # cut off, or an answer
    if len(raw) > LONGEST:
        return _broken(raw, dns.rcode.FORMERR)
    if (raw[2] >> 3) & 0xF != dns.opcode.QUERY:
        return _broken(raw, dns.rcode.NOTIMP)
    try:
        query = dns.message.from_wire(raw)
    except Exception:
        # Compression loops, lengths that lie, signatures: the library names many.
        return _broken(raw, dns.rcode.FORMERR)
    if len(query.question) != 1 or query.answer or query.authority or query.additional:
        return _broken(raw, dns.rcode.FORMERR)
    (question,) = query.question
    kind = dns.rdatatype.to_text(question.rdtype)
    if question.rdclass != dns.rdataclass.IN or dns.rdatatype.is_metatype(question.rdtype):
        return refuse(query, dns.rcode.REFUSED)
    return Asked(query, _text(question.name), kind)


def _broken(raw: bytes, code: dns.rcode.Rcode) -> bytes:
    # The question is not repeated: nobody knows where it ends.
    flags = (0x80 | (raw[2] & 0x79)).to_bytes(1) + int(code).to_bytes(1)
    return raw[:2] + flags + bytes(8)


def _text(name: dns.name.Name) -> str:
    return ".".join("".join(map(_plain, label)) for label in name.labels[:-1])


def _plain(byte: int) -> str:
    # A dot inside a label must not look like one between labels.
    character = chr(byte)
    if byte < 0x80 and (character.isalnum() or character in "-_"):
        return character.lower()
    return f"\\{byte:03d}"


def refuse(query: dns.message.Message, code: int, why: str = "") -> bytes:
    """Answer that there is nothing to be had; *why* is shown by dig(1) and its like."""
    answer = _answer(query)
    answer.set_rcode(dns.rcode.Rcode(code))
    if why and query.edns >= 0:
        option = dns.edns.EDEOption(dns.edns.EDECode.PROHIBITED, why[:200])
        answer.use_edns(0, 0, _LARGEST, options=[option])
    return answer.to_wire()


def answer(asked: Asked, reply: Reply, stream: bool) -> bytes:
    """The answer to *asked*; to a datagram only as long as its sender can take it."""
    found = _answer(asked.query)
    found.set_rcode(dns.rcode.Rcode(reply.code))
    left = max(int(reply.seconds), 0)
    found.answer = [_aged(rrset, left) for rrset in reply.answer]
    found.authority = [_aged(rrset, left) for rrset in reply.authority]
    room = 65535 if stream else min(max(asked.query.payload, _SMALLEST), _LARGEST)
    return found.to_wire(max_size=room, prefer_truncation=True)


def _answer(query: dns.message.Message) -> dns.message.Message:
    found = dns.message.make_response(query, recursion_available=True, our_payload=_LARGEST)
    found.flags &= ~(dns.flags.AA | dns.flags.AD)
    return found


def _aged(rrset: dns.rrset.RRset, seconds: int) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(rrset.name, min(rrset.ttl, seconds), list(rrset))


def code_name(code: int) -> str:
    """``NXDOMAIN`` for 3."""
    return dns.rcode.to_text(dns.rcode.Rcode(code))


def local(asked: Asked, addresses: Iterable[Address]) -> Reply:
    """What is said of a name that only this machine knows."""
    version = {"A": 4, "AAAA": 6}.get(asked.kind)
    found = [str(address) for address in addresses if address.version == version]
    if not found:
        return Reply(dns.rcode.NOERROR)
    owner = asked.query.question[0].name
    rrset = dns.rrset.from_text_list(owner, _TTL, "IN", asked.kind, found)
    return Reply(dns.rcode.NOERROR, (rrset,), seconds=_TTL)
