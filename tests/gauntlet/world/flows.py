"""Every packet that opens something, as it comes out of the host's namespace.

TCP is told by its SYNs, anything else by every packet: what is not here has not left the host.
"""

import ctypes
import socket
import struct

from notes import Notes

SO_ATTACH_FILTER = 26


def _program():
    """Classic BPF: IPv4 and IPv6, without TCP segments that are not a first SYN."""
    def op(code, jt, jf, k):
        return struct.pack("HBBI", code, jt, jf, k)

    return b"".join([
        op(0x28, 0, 0, 12),          # 0: the EtherType
        op(0x15, 0, 7, 0x0800),      # 1: not IPv4: to 9
        op(0x30, 0, 0, 23),          # 2: its protocol
        op(0x15, 0, 9, 6),           # 3: not TCP: keep (13)
        op(0xb1, 0, 0, 14),          # 4: X = length of the head
        op(0x50, 0, 0, 14 + 13),     # 5: flags
        op(0x54, 0, 0, 0x12),        # 6: SYN and ACK
        op(0x15, 5, 0, 0x02),        # 7: SYN alone: keep
        op(0x06, 0, 0, 0),           # 8: drop
        op(0x15, 0, 2, 0x86dd),      # 9: not IPv6: drop (12)
        op(0x30, 0, 0, 20),          # 10: its next head
        op(0x15, 2, 1, 6),           # 11: TCP: to 14; else keep
        op(0x06, 0, 0, 0),           # 12: drop
        op(0x06, 0, 0, 256),         # 13: keep
        op(0x30, 0, 0, 14 + 40 + 13),  # 14: flags
        op(0x54, 0, 0, 0x12),        # 15
        op(0x15, 0, 1, 0x02),        # 16
        op(0x06, 0, 0, 256),         # 17: keep
        op(0x06, 0, 0, 0),           # 18: drop
    ])


def _told(frame):
    kind = struct.unpack(">H", frame[12:14])[0]
    if kind == 0x0800:
        protocol, rest = frame[23], frame[14 + (frame[14] & 15) * 4:]
        source, target = (socket.inet_ntop(socket.AF_INET, frame[at:at + 4]) for at in (26, 30))
    else:
        protocol, rest = frame[20], frame[54:]
        source, target = (socket.inet_ntop(socket.AF_INET6, frame[at:at + 16]) for at in (22, 38))
    seen = {"protocol": protocol, "source": source, "target": target}
    if protocol in (6, 17) and len(rest) >= 4:
        seen["sport"], seen["dport"] = struct.unpack(">HH", rest[:4])
    elif protocol == 58 and rest:
        if 130 <= rest[0] <= 137 or rest[0] == 143:
            return None  # neighbours of the two namespaces
    return seen


def main(card, path):
    notes = Notes(path)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    program = _program()
    buffer = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
    sock.bind((card, 3))
    while True:
        frame, address = sock.recvfrom(2048)
        if address[2] == socket.PACKET_OUTGOING:
            continue
        seen = _told(frame)
        if seen:
            notes.write(**seen)
