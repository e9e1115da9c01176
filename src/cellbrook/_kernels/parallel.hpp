// Work sharing for the kernels: a fixed number of threads, a shared counter, no pool kept alive between calls.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace cellbrook {

// Calls body(begin, end, thread) for chunks of [0, count) until all are done. Exceptions are rethrown in the caller.
template <class Body>
void parallel_for(int64_t count, int64_t chunk, int threads, Body&& body) {
    chunk = std::max<int64_t>(1, chunk);
    const int64_t chunks = (count + chunk - 1) / chunk;
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, chunks)));
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_mutex;
    auto work = [&](int thread) {
        try {
            for (int64_t c; (c = next.fetch_add(1)) < chunks;)
                body(c * chunk, std::min(count, (c + 1) * chunk), thread);
        } catch (...) {
            std::lock_guard<std::mutex> lock(failure_mutex);
            if (!failure) failure = std::current_exception();
            next.store(chunks);
        }
    };
    std::vector<std::thread> others;
    others.reserve(threads - 1);
    try {
        for (int t = 1; t < threads; ++t) others.emplace_back(work, t);
    } catch (const std::system_error&) {
        // The system gives no more threads: those there are do the work.
    }
    work(0);
    for (auto& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace cellbrook
