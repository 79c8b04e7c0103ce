// Runs the ELF of a model that `fauxdna compile` made through XRT, with nothing of fauxdna in this program.
//
//   g++ -std=c++17 -O2 examples/xrt/run_model.cpp -o run_model -lxrt_coreutil
//   fauxdna compile model.int8.onnx --strict --output model.program
//   unzip model.program                       # manifest.json says what the arguments are and how large
//   fauxdna exec -- ./run_model 0.elf in:x.bin out:y.bin:32768 work:40960
//
// Arguments after the ELF are the kernel's, in order: a file that goes in, a file of so many bytes that comes out, or work space.

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <xrt/experimental/xrt_elf.h>
#include <xrt/experimental/xrt_ext.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_hw_context.h>
#include <xrt/xrt_kernel.h>

namespace {

struct argument {
    std::string file;         // empty: work space
    bool output = false;
    std::vector<char> data;   // of an input
    std::size_t size = 0;
};

argument parse(const std::string& text)
{
    const auto colon = text.find(':');
    const auto kind = text.substr(0, colon);
    const auto rest = colon == std::string::npos ? "" : text.substr(colon + 1);
    argument made;
    if (kind == "in") {
        std::ifstream stream(rest, std::ios::binary);
        if (!stream)
            throw std::runtime_error(rest + " can't be read");
        made.file = rest;
        made.data.assign(std::istreambuf_iterator<char>(stream), {});
        made.size = made.data.size();
    } else if (kind == "out") {
        const auto last = rest.rfind(':');
        if (last == std::string::npos)
            throw std::runtime_error(text + ": write out:FILE:BYTES");
        made.file = rest.substr(0, last);
        made.output = true;
        made.size = std::stoull(rest.substr(last + 1));
    } else if (kind == "work") {
        made.size = std::stoull(rest);
    } else {
        throw std::runtime_error(text + ": write in:FILE, out:FILE:BYTES or work:BYTES");
    }
    if (made.size == 0)
        throw std::runtime_error(text + ": a buffer of 0 bytes");
    return made;
}

void run(const std::string& elf, const std::vector<argument>& arguments)
{
    xrt::device device{0};
    xrt::hw_context context{device, xrt::elf{elf}};
    xrt::ext::kernel kernel{context, "DPU:inst0"};
    xrt::run run{kernel};
    std::vector<xrt::bo> buffers;
    for (const auto& argument : arguments) {
        auto& buffer = buffers.emplace_back(xrt::ext::bo{device, argument.size});
        std::memcpy(buffer.map<char*>(), argument.data.data(), argument.data.size());
        buffer.sync(XCL_BO_SYNC_BO_TO_DEVICE);
        run.set_arg(static_cast<int>(buffers.size()) - 1, buffer);
    }
    run.start();
    if (const auto state = run.wait(); state != ERT_CMD_STATE_COMPLETED)
        throw std::runtime_error("the run ended in state " + std::to_string(state));
    for (std::size_t index = 0; index < arguments.size(); ++index) {
        const auto& argument = arguments[index];
        if (!argument.output)
            continue;
        buffers[index].sync(XCL_BO_SYNC_BO_FROM_DEVICE);
        std::ofstream stream(argument.file, std::ios::binary);
        if (!stream.write(buffers[index].map<const char*>(), static_cast<std::streamsize>(argument.size)))
            throw std::runtime_error(argument.file + " can't be written");
        std::cout << argument.file << ": " << argument.size << " bytes\n";
    }
}

} // namespace

int main(int count, char* values[])
{
    if (count < 3) {
        std::cerr << "usage: run_model ELF ARGUMENT...   (in:FILE, out:FILE:BYTES, work:BYTES)\n";
        return 2;
    }
    try {
        std::vector<argument> arguments;
        for (int index = 2; index < count; ++index)
            arguments.push_back(parse(values[index]));
        run(values[1], arguments);
        return EXIT_SUCCESS;
    } catch (const std::exception& error) {
        std::cerr << "run_model: " << error.what() << '\n';
        return EXIT_FAILURE;
    }
}
