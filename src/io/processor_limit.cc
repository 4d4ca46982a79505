#include "io/processor_limit.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <thread>

#include "base/descriptor.h"
#include "io/control_groups.h"

namespace weir::io {

namespace {

/// Parses the number at the front of `text`, and removes it; "max" and -1 mean no limit.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number <= 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  while (text.starts_with(' ')) text.remove_prefix(1);
  return number;
}

/// cpu.max is "$MAX $PERIOD" (the kernel's cgroup-v2.rst); version 1 has a file for each.
std::optional<double> quota_of(const std::string& directory) {
  const auto both = control_group_text(directory + "/cpu.max");
  const auto first = control_group_text(directory + "/cpu.cfs_quota_us");
  const auto second = control_group_text(directory + "/cpu.cfs_period_us");
  std::string_view text = both.empty() ? first : both;
  const auto quota = take_number(text);
  if (both.empty()) text = second;
  const auto period = take_number(text);
  if (!quota || !period) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

}  // namespace

std::optional<double> processor_limit(const std::string& root) {
  std::optional<double> least;
  for (const auto& directory : control_groups("cpu", root)) {
    const auto quota = quota_of(directory);
    if (quota && (!least || *quota < *least)) least = quota;
  }
  return least;
}

unsigned usable_processors() {
  // With some C libraries, the standard library returns the number of CPUs online.
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return std::max(1u, static_cast<unsigned>(CPU_COUNT(&set)));
  return std::max(1u, std::thread::hardware_concurrency());
}

unsigned worthwhile_threads(const std::string& root) {
  const auto all = usable_processors();
  const auto limit = processor_limit(root);
  if (!limit || *limit >= all) return all;
  return std::max(1u, static_cast<unsigned>(std::ceil(*limit)));
}

std::chrono::nanoseconds run_delay() {
  // The second number (the kernel's scheduler/sched-stats.rst). The name leads to the thread that
  // opens it.
  thread_local const Descriptor file(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  std::array<char, 80> text{};
  const auto size = ::pread(file.get(), text.data(), text.size(), 0);
  if (size <= 0) return {};
  const std::string_view words(text.data(), static_cast<std::size_t>(size));
  std::int64_t delay = 0;
  if (const auto space = words.find(' '); space != std::string_view::npos)
    std::from_chars(words.data() + space + 1, words.data() + words.size(), delay);
  return std::chrono::nanoseconds(delay);
}

}  // namespace weir::io
