// Times a command through XRT: exec_xrt ELF COMMANDS BYTES... (of each argument). Prints one JSON object, in nanoseconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include <xrt/experimental/xrt_elf.h>
#include <xrt/experimental/xrt_ext.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_hw_context.h>
#include <xrt/xrt_kernel.h>

using sample_clock = std::chrono::steady_clock;

template <typename Wait>
static long median(xrt::run& run, int commands, Wait wait)
{
    std::vector<long> samples;
    for (int index = 0; index < commands; ++index) {
        const auto begin = sample_clock::now();
        run.start();
        wait();
        samples.push_back(std::chrono::duration_cast<std::chrono::nanoseconds>(sample_clock::now() - begin).count());
    }
    std::nth_element(samples.begin(), samples.begin() + commands / 2, samples.end());
    return samples[commands / 2];
}

int main(int count, char* values[])
try {
    if (count < 4)
        return 2;
    const int commands = std::atoi(values[2]);
    xrt::device device{0};
    xrt::hw_context context{device, xrt::elf{values[1]}};
    xrt::ext::kernel kernel{context, "DPU:inst0"};
    xrt::run run{kernel};
    for (int index = 3; index < count; ++index)
        run.set_arg(index - 3, xrt::bo{xrt::ext::bo{device, std::stoul(values[index])}});
    const auto polled = median(run, commands, [&] {
        for (;;) {
            const auto state = run.state();
            if (state == ERT_CMD_STATE_COMPLETED)
                break;
            if (state == ERT_CMD_STATE_ERROR || state == ERT_CMD_STATE_ABORT || state == ERT_CMD_STATE_TIMEOUT)
                std::abort();
        }
    });
    const auto waited = median(run, commands, [&] {
        if (run.wait() != ERT_CMD_STATE_COMPLETED)
            std::abort();
    });
    std::printf("{\"polled_p50_ns\": %ld, \"waited_p50_ns\": %ld}\n", polled, waited);
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "exec_xrt: %s\n", error.what());
    return 1;
}
