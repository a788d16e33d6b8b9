/* A guest agent for tests of machines: PID 1 that takes one-line commands over the agent's port.
 *
 * Says "hello\n" when it is ready; answers each command with one line. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/mman.h>
#include <unistd.h>

static int port = -1;
static unsigned char *heap;
static size_t heap_len;

static void say(const char *text) {
    size_t left = strlen(text);
    while (left > 0) {
        ssize_t n = write(port, text, left);
        if (n < 0 && errno != EINTR && errno != EAGAIN) return;
        if (n > 0) { text += n; left -= (size_t)n; }
    }
}

/* The port named fumehood.agent, by what sysfs says. */
static int open_port(void) {
    DIR *dir = opendir("/sys/class/virtio-ports");
    if (!dir) return -1;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[512], name[64] = "";
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", e->d_name);
        FILE *f = fopen(path, "r");
        if (!f) continue;
        int got = fgets(name, sizeof name, f) != NULL;
        fclose(f);
        if (!got || strcmp(name, "fumehood.agent\n") != 0) continue;
        snprintf(path, sizeof path, "/dev/%s", e->d_name);
        closedir(dir);
        return open(path, O_RDWR | O_CLOEXEC);
    }
    closedir(dir);
    return -1;
}

/* Fills n MiB of anonymous memory with a pattern. */
static void dirty(size_t mib, unsigned seed) {
    if (heap) munmap(heap, heap_len);
    heap_len = mib << 20;
    heap = mmap(NULL, heap_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (heap == MAP_FAILED) { heap = NULL; say("failed\n"); return; }
    for (size_t i = 0; i < heap_len; i += 8) *(uint64_t *)(heap + i) = i * 0x9e3779b97f4a7c15u + seed;
    say("ok\n");
}

static void sum(void) {
    uint64_t total = 0;
    for (size_t i = 0; heap && i < heap_len; i += 8) total = total * 31 + *(uint64_t *)(heap + i);
    char line[64];
    snprintf(line, sizeof line, "%016llx\n", (unsigned long long)total);
    say(line);
}

/* Writes or reads text at the start of the disk with this serial. */
static int disk(const char *serial, int flags) {
    DIR *dir = opendir("/sys/block");
    if (!dir) return -1;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[512], name[64] = "";
        snprintf(path, sizeof path, "/sys/block/%s/serial", e->d_name);
        FILE *f = fopen(path, "r");
        if (!f) continue;
        size_t n = fread(name, 1, sizeof name - 1, f);
        fclose(f);
        while (n > 0 && name[n - 1] == '\n') name[--n] = 0;
        if (strcmp(name, serial) != 0) continue;
        snprintf(path, sizeof path, "/dev/%s", e->d_name);
        closedir(dir);
        return open(path, flags | O_CLOEXEC | O_DIRECT);
    }
    closedir(dir);
    return -1;
}

static void disk_io(const char *serial, const char *text) {
    int fd = disk(serial, text ? O_RDWR : O_RDONLY);
    if (fd < 0) { say("absent\n"); return; }
    char *block = aligned_alloc(4096, 4096);
    memset(block, 0, 4096);
    char line[256];
    if (text) {
        snprintf(block, 4096, "%s", text);
        int done = pwrite(fd, block, 4096, 0) == 4096 && fsync(fd) == 0;
        snprintf(line, sizeof line, "%s\n", done ? "ok" : strerror(errno));
    } else if (pread(fd, block, 4096, 0) == 4096) {
        block[200] = 0;
        snprintf(line, sizeof line, "%s\n", block);
    } else {
        snprintf(line, sizeof line, "%s\n", strerror(errno));
    }
    close(fd);
    free(block);
    say(line);
}

static void load(const char *module) {
    char path[256];
    snprintf(path, sizeof path, "/%s", module);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) syscall(SYS_finit_module, fd, "", 4 /* MODULE_INIT_COMPRESSED_FILE */);
    if (fd >= 0) close(fd);
}

static struct sockaddr_in at(const char *address) {
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(9) };
    inet_pton(AF_INET, address, &in.sin_addr);
    return in;
}

/* Address, netmask, up. */
static void up(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = { .ifr_name = "eth0" };
    int done = fd >= 0;
    const struct { unsigned long call; const char *address; } sets[] = {
        { SIOCSIFADDR, "198.18.0.2" }, { SIOCSIFNETMASK, "255.255.255.252" } };
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in in = at(sets[i].address);
        memcpy(&request.ifr_addr, &in, sizeof in);
        done = done && ioctl(fd, sets[i].call, &request) == 0;
    }
    request.ifr_flags = IFF_UP;
    done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    char line[300];
    snprintf(line, sizeof line, "%s\n", done ? "ok" : strerror(errno));
    close(fd);
    say(line);
}

/* An echo request with so many bytes, and whether the answer came within a second. */
static void ping(size_t bytes) {
    static unsigned char packet[65536], reply[65536];
    static uint16_t sequence;
    struct icmphdr head = { .type = ICMP_ECHO, .un.echo = { .id = htons(7), .sequence = htons(++sequence) } };
    memcpy(packet, &head, sizeof head);
    for (size_t i = sizeof head; i < bytes; i++) packet[i] = (unsigned char)(i * 7 + sequence);
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i += 2) sum += (uint32_t)packet[i] << 8 | (i + 1 < bytes ? packet[i + 1] : 0);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    packet[2] = (unsigned char)(~sum >> 8);
    packet[3] = (unsigned char)~sum;
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    struct timeval second = { .tv_sec = 1 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    struct sockaddr_in to = at("198.18.0.1");
    int large = 1 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
    if (sendto(fd, packet, bytes, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to) < 0) {
        char line[300];
        snprintf(line, sizeof line, "%s\n", strerror(errno));
        say(line);
        close(fd);
        return;
    }
    ssize_t n = 0;
    do n = recv(fd, reply, sizeof reply, 0);
    while (n >= 28 && (reply[20] != ICMP_ECHOREPLY || memcmp(reply + 26, packet + 6, 2)));
    int same = n == (ssize_t)bytes + 20 && memcmp(reply + 28, packet + 8, bytes - 8) == 0;
    say(same ? "pong\n" : n > 0 ? "wrong\n" : "lost\n");
    close(fd);
}

/* Large packets, as many as the card takes, until none was taken for a while. */
static void blast(void) {
    static unsigned char packet[60000];
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int large = 16 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
    struct sockaddr_in to = at("198.18.0.1");
    long sent = 0;
    for (int i = 0; i < 400; i++)
        if (sendto(fd, packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to) > 0) sent++;
    char line[64];
    snprintf(line, sizeof line, "%ld\n", sent);
    close(fd);
    say(line);
}

static void command(char *line) {
    char *rest = strchr(line, ' ');
    if (rest) *rest++ = 0;
    if (!strcmp(line, "echo")) { say(rest ? rest : ""); say("\n"); }
    else if (!strcmp(line, "dirty")) {
        char *seed = rest ? strchr(rest, ' ') : NULL;
        dirty((size_t)atol(rest ? rest : "1"), seed ? (unsigned)atol(seed) : 0);
    }
    else if (!strcmp(line, "sum")) sum();
    else if (!strcmp(line, "burn")) {
        volatile uint64_t x = 1;
        for (long i = atol(rest ? rest : "1") * 1000000; i > 0; i--) x = x * 6364136223846793005u + 1;
        say("ok\n");
    }
    else if (!strcmp(line, "read")) disk_io(rest ? rest : "", NULL);
    else if (!strcmp(line, "write")) {
        char *text = rest ? strchr(rest, ' ') : NULL;
        if (text) *text++ = 0;
        disk_io(rest ? rest : "", text ? text : "");
    }
    else if (!strcmp(line, "print")) { printf("%s\n", rest ? rest : ""); fflush(stdout); say("ok\n"); }
    else if (!strcmp(line, "flood")) {
        for (long i = atol(rest ? rest : "1") * 16; i > 0; i--) {
            char block[4096];
            memset(block, 'x', sizeof block);
            block[sizeof block - 1] = '\n';
            fwrite(block, 1, sizeof block, stdout);
        }
        fflush(stdout);
        say("ok\n");
    }
    else if (!strcmp(line, "up")) up();
    else if (!strcmp(line, "ping")) ping((size_t)atol(rest ? rest : "64"));
    else if (!strcmp(line, "blast")) blast();
    else if (!strcmp(line, "off")) reboot(RB_POWER_OFF);
    else if (!strcmp(line, "reset")) reboot(RB_AUTOBOOT);
    else if (!strcmp(line, "panic")) _exit(1);
    else say("what\n");
}

int main(void) {
    mkdir("/dev", 0755); mkdir("/sys", 0755); mkdir("/proc", 0755);
    mount("dev", "/dev", "devtmpfs", 0, "");
    mount("sys", "/sys", "sysfs", 0, "");
    mount("proc", "/proc", "proc", 0, "");
    int console = open("/dev/console", O_RDWR);
    if (console >= 0) { dup2(console, 0); dup2(console, 1); dup2(console, 2); }
    load("virtio_blk.ko.xz");
    load("failover.ko.xz");
    load("net_failover.ko.xz");
    load("virtio_net.ko.xz");
    for (int i = 0; port < 0 && i < 400; i++) {
        port = open_port();
        if (port < 0) usleep(1000);
    }
    if (port < 0) { printf("no agent port\n"); fflush(stdout); _exit(2); }
    say("hello\n");
    char line[4096];
    size_t len = 0;
    for (;;) {
        ssize_t n = read(port, line + len, sizeof line - 1 - len);
        if (n <= 0) { usleep(1000); continue; } /* no one on the other side */
        len += (size_t)n;
        char *end;
        line[len] = 0;
        while ((end = memchr(line, '\n', len))) {
            *end = 0;
            command(line);
            len -= (size_t)(end + 1 - line);
            memmove(line, end + 1, len);
            line[len] = 0;
        }
        if (len == sizeof line - 1) len = 0;
    }
}
