// Random ioctls from valid ones, while another thread rewrites their arguments.
// fuzzer NODE SEED COUNT DATA REQUEST=ARGUMENT...: DATA and ARGUMENT in hex; COUNT 0 goes on until it is killed.
// Prints "NUMBER ERRNO" for each pair that was seen. Memory is where ARGUMENTs may point to: at BASE a page for the argument, then
// one with DATA, then a read-only page, one that is not mapped, and one that may not be touched.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define BASE 0x100000000000ull
#define PAGE 4096ull
#define ARGUMENT_MOST 256
#define EVENTFD 10
enum { WAIT_CMD = 0x49, SYNCOBJ_WAIT = 0xC3, SYNCOBJ_TIMELINE_WAIT = 0xCA, SYNCOBJ_TRANSFER = 0xCC };
#define DESCRIPTORS 48

struct request { uint32_t number, length; uint8_t argument[ARGUMENT_MOST]; };

static uint8_t *const arena = (uint8_t *)BASE;
static volatile int going = 1;
static uint64_t state;

static uint64_t step(uint64_t *x) {  // xorshift64
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}
static uint64_t draw(void) { return step(&state); }

static const uint64_t edges[] = {0, 1, 2, 3, 4, 5, 8, 12, 16, 64, 4095, 4096, 65536, 1u << 21, 1u << 31, UINT32_MAX, 1ull << 40,
                                 1ull << 63, UINT64_MAX};
// Null, nearly null, not mapped, the top of what a program has, not canonical, the kernel's, the last bytes.
static const uint64_t foreign[] = {0, 8, BASE - PAGE, BASE + 3 * PAGE, BASE + 4 * PAGE, 0x7FFFFFFFF000ull, 1ull << 47,
                                   0xFFFF888000000000ull, 0xFFFFFFFF81000000ull, UINT64_MAX - 7};
#define ANY(array) (array)[draw() % (sizeof(array) / sizeof *(array))]

static uint64_t pointer(void) {
    switch (draw() % 6) {
    case 0: return BASE + PAGE + draw() % PAGE;
    case 1: return BASE + 2 * PAGE - draw() % 64;  // straddles the read-only page
    case 2: return BASE + 2 * PAGE + draw() % 2048;
    case 3: return BASE + 3 * PAGE - draw() % 64;  // straddles the hole
    default: return ANY(foreign);
    }
}

static void *rewrite(void *unused) {
    uint64_t x = 88172645463325252ull;
    while (going) {
        uint64_t word = step(&x) % 4 ? x >> 8 & 31 : x >> 8 & 2047;
        *(volatile uint32_t *)(arena + 4 * word) = (uint32_t)(x >> 40 & 0xFF);
        usleep(1);
    }
    return unused;
}

static void tick(int signal) { (void)signal; }

static void must(int failed, const char *what) {
    if (failed) {
        perror(what);
        exit(1);
    }
}

static uint32_t unhex(const char *text, uint8_t *out, uint32_t room) {
    uint32_t length = 0;
    for (unsigned byte; length < room && sscanf(text, "%2x", &byte) == 1; text += 2) out[length++] = (uint8_t)byte;
    return length;
}

static void memory(const char *data) {
    must(mmap(arena, 5 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != arena, "mmap");
    unhex(data, arena + PAGE, PAGE);
    must(mprotect(arena + 2 * PAGE, PAGE, PROT_READ), "mprotect");
    must(munmap(arena + 3 * PAGE, PAGE), "munmap");
    must(mprotect(arena + 4 * PAGE, PAGE, PROT_NONE), "mprotect");
}

static void timer(void) {
    // Calls that would wait for ever end with EINTR.
    struct sigaction action = {.sa_handler = tick};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval interval = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &interval, NULL);
}

static int fresh(const char *node, int old) {
    if (old >= 0) close(old);
    for (int fd = EVENTFD + 1; fd < DESCRIPTORS; fd++) close(fd);
    return open(node, O_RDWR);
}

static void mutate(uint8_t *argument, uint32_t length) {
    for (uint64_t changes = draw() % 4; changes > 0 && length >= 4; changes--) {
        uint32_t width = draw() % 2 && length >= 8 ? 8 : 4;
        uint32_t at = (uint32_t)(draw() % (length / width)) * width;
        uint64_t value = draw() % 3 == 0 ? pointer() : draw() % 2 ? ANY(edges) : draw() % 8;
        memcpy(argument + at, &value, width);
    }
}

int main(int argc, char **argv) {
    static uint8_t seen[256][256];
    static struct request requests[256];
    if (argc < 6 || argc > 5 + 256) return 2;
    int count = argc - 5;
    for (int index = 0; index < count; index++) {
        char *argument;
        requests[index].number = (uint32_t)strtoul(argv[index + 5], &argument, 0);
        requests[index].length = unhex(argument + 1, requests[index].argument, ARGUMENT_MOST);
    }
    state = strtoull(argv[2], NULL, 0) * 2654435761u + 88172645463325252ull;
    memory(argv[4]);
    struct rlimit limit = {DESCRIPTORS, DESCRIPTORS};
    setrlimit(RLIMIT_NOFILE, &limit);
    must(dup2(eventfd(0, EFD_NONBLOCK), EVENTFD) < 0, "eventfd");
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_t thread;
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    pthread_create(&thread, NULL, rewrite, NULL);
    timer();
    int fd = fresh(argv[1], -1);
    long calls = atol(argv[3]);
    for (long index = 0; !calls || index < calls; index++) {
        if (draw() % 100 == 0) fd = fresh(argv[1], fd);
        const struct request *request = &requests[draw() % (uint64_t)count];
        uint8_t bytes[ARGUMENT_MOST];
        memcpy(bytes, request->argument, ARGUMENT_MOST);
        mutate(bytes, request->length);
        uint32_t number = request->number;
        uint64_t argument = BASE, kind = draw() % 16;
        if (kind == 0) number = 0x6400 | (uint32_t)(draw() & 0xFF) | (uint32_t)(draw() & 0xFFFF) << 16;
        if (kind == 1) number = (number & ~0x3FFF0000u) | (uint32_t)(draw() % (2 * (number >> 16 & 0x3FFF) + 1)) << 16;
        if (kind == 2) number ^= 0xC0000000u & (uint32_t)draw();
        if (kind == 3) argument = pointer();
        // Some lie across the end of the writable pages.
        if (kind == 4) argument = BASE + 2 * PAGE - draw() % (request->length + 1);
        uint64_t room = argument >= BASE && argument < BASE + 2 * PAGE ? BASE + 2 * PAGE - argument : 0;
        if (kind != 3) memcpy((void *)argument, bytes, room < ARGUMENT_MOST ? room : ARGUMENT_MOST);
        // Before seccomp hands a call over, a signal ends any: only those that wait in Linux too are given one.
        int waits = (number & 0xFF) == WAIT_CMD || (number & 0xFF) == SYNCOBJ_WAIT || (number & 0xFF) == SYNCOBJ_TIMELINE_WAIT ||
                    (number & 0xFF) == SYNCOBJ_TRANSFER;
        if (waits) pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
        int error = ioctl(fd, number, argument) < 0 ? errno : 0;
        if (waits) pthread_sigmask(SIG_BLOCK, &alarm, NULL);
        seen[number & 0xFF][error & 0xFF] = 1;
    }
    going = 0;
    pthread_join(thread, NULL);
    for (int number = 0; number < 256; number++)
        for (int error = 0; error < 256; error++)
            if (seen[number][error]) printf("%d %d\n", number, error);
    return 0;
}
