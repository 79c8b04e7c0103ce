// What programs do with XRT beside one run: many in flight, lists, other people's memory, contexts, time limits, failures.
//
//   features TEST ELF OUTPUT_BYTES WORKSPACE_BYTES COUNT     a model: reads x0.bin ..., writes y0.bin ...
//   features TEST ELF                                        kernels copy:one, copy:two, bad:inst0, stuck:inst0, slow:inst0
//
// Ends with 1 and a sentence where something is not as xrt_kernel.h and xrt_bo.h have it.

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <xrt/experimental/xrt_elf.h>
#include <xrt/experimental/xrt_ext.h>
#include <xrt/experimental/xrt_kernel.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_hw_context.h>
#include <xrt/xrt_kernel.h>

namespace {

using std::chrono::milliseconds;

constexpr std::size_t page = 4096;
constexpr std::size_t copied = 4096; // bytes that a copy kernel copies

void check(bool so, const std::string& what)
{
    if (!so)
        throw std::runtime_error(what);
}

std::string load(const std::string& name)
{
    std::ifstream stream(name, std::ios::binary);
    check(bool(stream), name + " can't be read");
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::size_t aligned(std::size_t size) { return (size + page - 1) / page * page; }

struct model {
    std::string elf;
    std::size_t output = 0, workspace = 0;
    int count = 0;
};

// One run of the model with buffers of its own: input INDEX, filled, and an output of ones.
struct job {
    xrt::bo x, y, work;
    xrt::run run;
    std::size_t size;

    job(const model& of, const xrt::device& device, const xrt::kernel& kernel, xrt::bo in, xrt::bo out, const std::string& data)
        : x(std::move(in)), y(std::move(out)), work(xrt::ext::bo{device, of.workspace}), run(kernel), size(of.output)
    {
        x.write(data.data(), data.size(), 0);
        clear();
        x.sync(XCL_BO_SYNC_BO_TO_DEVICE);
        run.set_arg(0, x);
        run.set_arg(1, y);
        run.set_arg(2, work);
    }

    void clear()
    {
        std::memset(y.map(), 0xff, size);
        y.sync(XCL_BO_SYNC_BO_TO_DEVICE);
    }

    void save(int index)
    {
        y.sync(XCL_BO_SYNC_BO_FROM_DEVICE);
        std::ofstream("y" + std::to_string(index) + ".bin", std::ios::binary).write(y.map<const char*>(), std::streamsize(size));
    }
};

std::string input(int index) { return load("x" + std::to_string(index) + ".bin"); }

job make(const model& of, const xrt::device& device, const xrt::kernel& kernel, int index)
{
    const auto data = input(index);
    return {of, device, kernel, xrt::ext::bo{device, data.size()}, xrt::ext::bo{device, of.output}, data};
}

std::vector<job> make_all(const model& of, const xrt::device& device, const xrt::kernel& kernel)
{
    std::vector<job> jobs;
    for (int index = 0; index < of.count; ++index)
        jobs.push_back(make(of, device, kernel, index));
    return jobs;
}

void save_all(std::vector<job>& jobs)
{
    for (std::size_t index = 0; index < jobs.size(); ++index)
        jobs[index].save(int(index));
}

void completes(const xrt::run& run, const std::string& what)
{
    const auto state = run.wait();
    check(state == ERT_CMD_STATE_COMPLETED, what + " ended in state " + std::to_string(state));
}

void in_flight(const model& of)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{of.elf}};
    auto jobs = make_all(of, device, xrt::ext::kernel{context, "DPU:inst0"});
    for (int round = 0; round < 3; ++round) {
        for (auto& job : jobs)
            job.clear();
        for (auto& job : jobs)
            job.run.start();
        for (auto job = jobs.rbegin(); job != jobs.rend(); ++job)
            completes(job->run, "a run in flight");
    }
    save_all(jobs);
}

void run_list(const model& of)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{of.elf}};
    auto jobs = make_all(of, device, xrt::ext::kernel{context, "DPU:inst0"});
    xrt::runlist list{context};
    for (auto& job : jobs)
        list.add(job.run);
    for (int round = 0; round < 3; ++round) {
        for (auto& job : jobs)
            job.clear();
        list.execute();
        check(list.wait(milliseconds{60'000}) == std::cv_status::no_timeout, "a run list takes a minute");
        check(list.state() == ERT_CMD_STATE_COMPLETED, "a run list that was waited for is not completed");
    }
    save_all(jobs);
    list.reset();
    list.add(jobs.front().run);
    list.execute();
    list.wait();
}

void user_pointer(const model& of)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{of.elf}};
    const xrt::ext::kernel kernel{context, "DPU:inst0"};
    const auto data = input(0);
    auto* x = static_cast<char*>(std::aligned_alloc(page, aligned(data.size())));
    auto* y = static_cast<char*>(std::aligned_alloc(page, aligned(of.output)));
    {
        job one{of, device, kernel, xrt::ext::bo{device, x, aligned(data.size())}, xrt::ext::bo{device, y, aligned(of.output)}, data};
        check(one.x.map() == x && one.y.map() == y, "a buffer over the caller's memory is elsewhere");
        // Another input, by the caller's own pointer: buffer and memory are one.
        const auto other = input(1);
        std::memcpy(x, other.data(), other.size());
        one.run.start();
        completes(one.run, "a run on the caller's memory");
        std::ofstream("y1.bin", std::ios::binary).write(y, std::streamsize(of.output));
        std::memcpy(x, data.data(), data.size());
        one.run.start();
        completes(one.run, "a second run on the caller's memory");
    }
    std::ofstream("y0.bin", std::ios::binary).write(y, std::streamsize(of.output));
    std::free(x);
    std::free(y);
}

void sub_buffers(const model& of)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{of.elf}};
    const xrt::ext::kernel kernel{context, "DPU:inst0"};
    const auto data = input(0);
    const auto before = page, x = aligned(data.size()), y = aligned(of.output);
    xrt::ext::bo whole{device, before + x + y + page};
    std::memset(whole.map(), 0x5a, whole.size());
    xrt::bo in{whole, x, before}, out{whole, y, before + x};
    check(in.address() == whole.address() + before, "a part's address is not the whole's and its offset");
    job one{of, device, kernel, in, out, data};
    one.run.start();
    completes(one.run, "a run on parts of a buffer");
    one.save(0);
    const auto* bytes = whole.map<const unsigned char*>();
    for (std::size_t at = 0; at < page; ++at)
        check(bytes[at] == 0x5a && bytes[before + x + y + at] == 0x5a, "bytes beside the parts have changed");
}

// The other process of share(): runs on the first one's buffers.
void import(const model& of, const xrt::pid_type& owner, int x, int y)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{of.elf}};
    xrt::run run{xrt::ext::kernel{context, "DPU:inst0"}};
    const xrt::bo in{device, owner, x}, out{device, owner, y};
    const xrt::bo work = xrt::ext::bo{device, of.workspace};
    run.set_arg(0, in);
    run.set_arg(1, out);
    run.set_arg(2, work);
    run.start();
    completes(run, "a run on imported buffers");
}

void share(const model& of, const std::vector<std::string>& words)
{
    const xrt::device device{0};
    const auto data = input(0);
    xrt::ext::bo x{device, data.size(), xrt::ext::bo::access_mode::process}, y{device, of.output, xrt::ext::bo::access_mode::process};
    x.write(data.data(), data.size(), 0);
    std::memset(y.map(), 0xff, of.output);
    std::vector<std::string> arguments = words;
    arguments[1] = "import";
    for (const long value : {long(::getpid()), long(x.export_buffer()), long(y.export_buffer())})
        arguments.push_back(std::to_string(value));
    // Where Yama restricts ptrace, pidfd_getfd(2) on a parent is only for those it names.
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    const auto child = ::fork();
    if (child == 0) {
        std::vector<char*> pointers;
        for (auto& argument : arguments)
            pointers.push_back(argument.data());
        pointers.push_back(nullptr);
        ::execv("/proc/self/exe", pointers.data());
        ::_exit(127);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    check(status == 0, "the process that imports ended with " + std::to_string(status));
    std::ofstream("y0.bin", std::ios::binary).write(y.map<const char*>(), std::streamsize(of.output));
}

void contexts(const model& of)
{
    const xrt::device device{0};
    std::vector<std::thread> threads;
    std::vector<std::string> failures(std::size_t(of.count));
    for (int index = 0; index < of.count; ++index)
        threads.emplace_back([&, index] {
            try {
                const xrt::hw_context context{device, xrt::elf{of.elf}};
                auto one = make(of, device, xrt::ext::kernel{context, "DPU:inst0"}, index);
                for (int round = 0; round < 5; ++round) {
                    one.clear();
                    one.run.start();
                    completes(one.run, "a run in a context of several");
                }
                one.save(index);
            } catch (const std::exception& error) {
                failures[std::size_t(index)] = error.what();
            }
        });
    for (auto& thread : threads)
        thread.join();
    for (const auto& failure : failures)
        check(failure.empty(), failure);
}

// A copy of random-looking bytes by one of the copy kernels.
struct copying {
    xrt::bo from, to;
    xrt::run run;

    copying(const xrt::device& device, const xrt::hw_context& context, const std::string& name, int seed)
        : from(xrt::ext::bo{device, copied}), to(xrt::ext::bo{device, copied}), run(xrt::ext::kernel{context, name})
    {
        for (std::size_t at = 0; at < copied; ++at)
            from.map<unsigned char*>()[at] = static_cast<unsigned char>(at * 31 + std::size_t(seed) * 7 + at / 256);
        std::memset(to.map(), 0, copied);
        run.set_arg(0, from);
        run.set_arg(1, to);
    }

    bool done() const { return std::memcmp(from.map(), to.map(), copied) == 0; }
};

xrt::run plain(const xrt::hw_context& context, const std::string& name, const xrt::bo& argument)
{
    xrt::run run{xrt::ext::kernel{context, name}};
    run.set_arg(0, argument);
    return run;
}

// More runs than the queue has places (32), of two kernels of one ELF; then in a list.
void full_queue(const std::string& elf)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{elf}};
    std::vector<copying> all;
    for (int index = 0; index < 100; ++index)
        all.emplace_back(device, context, index % 2 ? "copy:one" : "copy:two", index);
    for (auto& one : all)
        one.run.start();
    for (auto& one : all)
        completes(one.run, "one of a hundred runs");
    for (const auto& one : all)
        check(one.done(), "a run of a hundred has not copied");
    xrt::runlist list{context};
    for (auto& one : all) {
        std::memset(one.to.map(), 0, copied);
        list.add(one.run);
    }
    list.execute();
    list.wait();
    for (const auto& one : all)
        check(one.done(), "a run of a list of a hundred has not copied");
}

void failures(const std::string& elf)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{elf}};
    const xrt::ext::bo argument{device, copied};
    const std::map<std::string, ert_cmd_state> ends{{"bad:inst0", ERT_CMD_STATE_ERROR}, {"stuck:inst0", ERT_CMD_STATE_TIMEOUT}};
    for (const auto& [name, wanted] : ends) {
        auto run = plain(context, name, argument);
        run.start();
        check(run.wait() == wanted, name + " does not end as it should");
        run.start();
        try {
            run.wait2();
            throw std::logic_error(name + " ends well");
        } catch (const xrt::run::command_error& error) {
            check(error.get_command_state() == wanted, name + " ends in state " + std::to_string(error.get_command_state()));
        }
        copying after{device, context, "copy:one", 1};
        after.run.start();
        completes(after.run, "the run after " + name);
        check(after.done(), "the run after " + name + " has not copied");
    }
}

void failing_list(const std::string& elf)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{elf}};
    const xrt::ext::bo argument{device, copied};
    copying first{device, context, "copy:one", 1}, last{device, context, "copy:two", 2};
    auto bad = plain(context, "bad:inst0", argument);
    xrt::runlist list{context};
    list.add(first.run);
    list.add(bad);
    list.add(last.run);
    list.execute();
    try {
        list.wait();
        throw std::logic_error("a list with a bad run ends well");
    } catch (const xrt::runlist::command_error& error) {
        check(error.get_command_state() == ERT_CMD_STATE_ERROR, "the list ends in state " + std::to_string(error.get_command_state()));
        check(error.get_run().get_handle() == bad.get_handle(), "the list blames another run");
    }
    check(first.done(), "the run before the bad one has not copied");
    check(!last.done(), "the run after the bad one has copied");
    list.reset();
    list.add(last.run);
    list.execute();
    list.wait();
    check(last.done(), "the list after a bad one has not copied");
}

// A context of two ELFs: the model's, and many.elf with the kernels below.
void two_elfs(const model& of)
{
    const xrt::device device{0};
    xrt::hw_context context{device, xrt::elf{of.elf}};
    context.add_config(xrt::elf{"many.elf"});
    auto one = make(of, device, xrt::ext::kernel{context, "DPU:inst0"}, 0);
    copying other{device, context, "copy:two", 3};
    // The copy sets no more than it needs, and relies on tiles as they are at first; a model sets everything.
    other.run.start();
    one.run.start();
    completes(one.run, "a run of a context's first ELF");
    completes(other.run, "a run of the ELF that was added");
    check(other.done(), "the kernel of the ELF that was added has not copied");
    one.save(0);
}

// slow:inst0 sleeps 0.4 simulated seconds; the die keeps that pace.
void time_limits(const std::string& elf)
{
    const xrt::device device{0};
    const xrt::hw_context context{device, xrt::elf{elf}};
    const xrt::ext::bo argument{device, copied};
    auto run = plain(context, "slow:inst0", argument);
    auto started = std::chrono::steady_clock::now();
    // On a machine that is very busy, this program may not get its turn before the 0.4 s have gone by.
    const auto over = [&] { return std::chrono::steady_clock::now() - started >= milliseconds{400}; };
    run.start();
    check(run.wait(milliseconds{20}) == ERT_CMD_STATE_TIMEOUT || over(), "20 ms are enough for 0.4 s");
    check(run.wait2(milliseconds{20}) == std::cv_status::timeout || over(), "40 ms are enough for 0.4 s");
    bool aborted = false;
    try {
        run.abort();
        aborted = true;
    } catch (const std::exception&) {
        // AMD's shim has no command for it, on hardware either (hwq.cpp: "No dpu data, invalid exec buf").
    }
    check(!aborted || over(), "the shim has learnt to abort: test what it does");
    completes(run, "the run that was waited for too short");
    xrt::runlist list{context};
    list.add(run);
    started = std::chrono::steady_clock::now();
    list.execute();
    check(list.wait(milliseconds{20}) == std::cv_status::timeout || over(), "20 ms are enough for a list of 0.4 s");
    check(list.wait(milliseconds{60'000}) == std::cv_status::no_timeout, "a list of 0.4 s takes a minute");
}

} // namespace

int main(int count, char* values[])
{
    const std::vector<std::string> words(values, values + count);
    const std::map<std::string, std::function<void(const model&)>> with_model{
        {"in_flight", in_flight},
        {"run_list", run_list},
        {"user_pointer", user_pointer},
        {"sub_buffers", sub_buffers},
        {"share", [&](const model& of) { share(of, words); }},
        {"import", [&](const model& of) { import(of, {std::stoi(words.at(6))}, std::stoi(words.at(7)), std::stoi(words.at(8))); }},
        {"contexts", contexts},
        {"two_elfs", two_elfs},
    };
    const std::map<std::string, std::function<void(const std::string&)>> with_kernels{
        {"full_queue", full_queue}, {"failures", failures}, {"failing_list", failing_list}, {"time_limits", time_limits}};
    try {
        if (const auto found = with_kernels.find(words.at(1)); found != with_kernels.end())
            found->second(words.at(2));
        else
            with_model.at(words[1])({words.at(2), std::stoul(words.at(3)), std::stoul(words.at(4)), std::stoi(words.at(5))});
        return EXIT_SUCCESS;
    } catch (const std::exception& error) {
        std::cerr << "features: " << error.what() << '\n';
        return EXIT_FAILURE;
    }
}
