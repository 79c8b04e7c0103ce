// Lives of an open file: cycles NODE COUNT opens, makes a BO, maps and writes it, closes; then waits for a line, as often as it gets one.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    char line[16];
    do {
        for (long index = atol(argv[2]); index > 0; index--) cycle(argv[1]);
        puts("done");
        fflush(stdout);
    } while (fgets(line, sizeof line, stdin));
    return 0;
}
