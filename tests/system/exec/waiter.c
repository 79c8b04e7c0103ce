// For debuggers and terminals: waiter version asks the driver's version, waiter wait waits for a command that was never submitted.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

struct create_bo { uint64_t flags, vaddr, size; uint32_t type, handle; };
struct create_hwctx {
    uint64_t ext, ext_flags, qos;
    uint32_t umq_bo, log_buf_bo, max_opc, num_tiles, mem_size, umq_doorbell, handle, syncobj_handle;
};
struct wait_cmd { uint32_t hwctx, timeout; uint64_t seq; };

static void interrupted(int signal) { (void)signal; }

// Where a debugger stops.
__attribute__((noinline)) int answered(int error) {
    printf("answered: %s\n", strerror(error));
    return error;
}

static int ask(int fd, unsigned long request, void *argument) { return ioctl(fd, request, argument) ? errno : 0; }

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    int fd = open("/dev/accel/accel0", O_RDWR);
    if (argc < 2 || !strcmp(argv[1], "version")) {
        char version[64] = {0};
        return answered(ask(fd, _IOWR('d', 0x00, version), version));
    }
    // No SA_RESTART: an interrupted wait ends with EINTR.
    struct sigaction action = {.sa_handler = interrupted};
    sigaction(SIGINT, &action, NULL);
    char qos[24] = {0};
    struct create_bo bo = {.size = 8192, .type = 1};
    int error = ask(fd, _IOWR('d', 0x43, bo), &bo);
    struct create_hwctx context = {.qos = (uintptr_t)qos, .umq_bo = bo.handle, .num_tiles = 4};
    if (!error) error = ask(fd, _IOWR('d', 0x40, context), &context);
    if (!error) {
        puts("waiting");
        struct wait_cmd wait = {.hwctx = context.handle};
        error = ask(fd, _IOW('d', 0x49, wait), &wait);
    }
    return answered(error);
}
