// A program for the ioctl door: cycles of an open file's life, or random ioctls while another thread rewrites their arguments.
// hostile cycles NODE COUNT: opens, makes a BO, maps and writes it, closes; then waits for a line, as often as it gets one.
// hostile fuzz NODE SEED COUNT REQUEST...: prints "NUMBER ERRNO" for each pair that was seen.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

struct create_bo { uint64_t flags, vaddr, size; uint32_t type, handle; };
struct bo_info { uint64_t ext, ext_flags; uint32_t handle, pad; uint64_t map_offset, vaddr, xdna_addr; };
#define CREATE_BO _IOWR('d', 0x43, struct create_bo)
#define GET_BO_INFO _IOWR('d', 0x44, struct bo_info)

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void cycle(const char *node) {
    int fd = open(node, O_RDWR | O_CLOEXEC);
    if (fd < 0) die("open");
    struct create_bo bo = {.size = 65536, .type = 1};
    if (ioctl(fd, CREATE_BO, &bo)) die("CREATE_BO");
    struct bo_info info = {.handle = bo.handle};
    if (ioctl(fd, GET_BO_INFO, &info)) die("GET_BO_INFO");
    char *memory = mmap(NULL, bo.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)info.map_offset);
    if (memory == MAP_FAILED) die("mmap");
    if (memory[0] || memory[65535]) die("a BO that is not zero");
    memset(memory, 0xAB, bo.size);
    munmap(memory, bo.size);
    close(fd);
}

static uint64_t state;
static uint64_t draw(void) {  // xorshift64
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static const uint64_t edges[] = {0, 1, 2, 3, 4, 5, 8, 16, 64, 4095, 4096, 65536, 1u << 31, UINT32_MAX, 1ull << 40, 1ull << 47, 1ull << 63, UINT64_MAX};
static uint8_t *arena;  // two pages, and behind them nothing
static volatile int going = 1;

static void *rewrite(void *unused) {
    uint64_t x = 88172645463325252ull;
    while (going) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        *(volatile uint32_t *)(arena + x % 2048 * 4) = (uint32_t)(x >> 40 & 0xFF);
        usleep(x >> 60 ? 0 : 10);
    }
    return unused;
}

static void tick(int signal) { (void)signal; }

static int fuzz(const char *node, uint64_t seed, long count, int requests, char **request) {
    static uint8_t seen[256][256];
    state = seed * 2654435761u + 88172645463325252ull;
    arena = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(arena + 8192, 4096);
    // Calls that would wait for ever end with EINTR.
    struct sigaction action = {.sa_handler = tick};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_t thread;
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    pthread_create(&thread, NULL, rewrite, NULL);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
    int fd = open(node, O_RDWR);
    for (long index = 0; index < count; index++) {
        if (draw() % 500 == 0) {
            close(fd);
            fd = open(node, O_RDWR);
        }
        uint32_t number = (uint32_t)strtoul(request[draw() % (uint64_t)requests], NULL, 0);
        uint64_t kind = draw() % 16;
        if (kind == 0) number = 0x6400 | (uint32_t)(draw() & 0xFF) | (uint32_t)(draw() & 0xFFFF) << 16;
        if (kind == 1) number = (number & ~0x3FFF0000u) | (uint32_t)(draw() % (2 * (number >> 16 & 0x3FFF) + 1)) << 16;
        if (kind == 2) number ^= 0xC0000000u & (uint32_t)draw();
        uint64_t *words = (uint64_t *)arena;
        for (int word = 0; word < 16; word++) {
            words[word] = draw() % 3 ? edges[draw() % (sizeof edges / sizeof *edges)] : draw() % 8 | draw() % 8 << 32;
            if (draw() % 8 == 0) words[word] = (uint64_t)(uintptr_t)(arena + draw() % 12288);
        }
        void *argument = arena;
        if (kind == 3) argument = (void *)(uintptr_t)edges[draw() % (sizeof edges / sizeof *edges)];
        if (kind == 4) argument = arena + 8192 - draw() % 128;
        int error = ioctl(fd, number, argument) < 0 ? errno : 0;
        seen[number & 0xFF][error & 0xFF] = 1;
    }
    going = 0;
    pthread_join(thread, NULL);
    for (int number = 0; number < 256; number++)
        for (int error = 0; error < 256; error++)
            if (seen[number][error]) printf("%d %d\n", number, error);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 5 && !strcmp(argv[1], "fuzz")) return fuzz(argv[2], strtoull(argv[3], NULL, 0), atol(argv[4]), argc - 5, argv + 5);
    if (argc != 4 || strcmp(argv[1], "cycles")) return 2;
    char line[16];
    do {
        for (long index = atol(argv[3]); index > 0; index--) cycle(argv[2]);
        puts("done");
        fflush(stdout);
    } while (fgets(line, sizeof line, stdin));
    return 0;
}
