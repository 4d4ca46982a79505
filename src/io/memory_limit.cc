#include "io/memory_limit.h"

#include <charconv>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "io/small_file.h"

namespace weir::io {

namespace {

constexpr std::uint64_t kMostText = 1 << 20;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

/// Empty where there is none: a group's directory lacks the files of controllers it does not have.
std::string text_of(const std::string& path) {
  try {
    if (type_of(path) != PathType::file) return {};
    return read_small_file(path, kMostText);
  } catch (const Error&) {
    return {};
  }
}

/// "max", and what version 1 has for it, are none.
std::optional<std::uint64_t> limit_in(const std::string& path) {
  constexpr std::uint64_t kNone = std::uint64_t{1} << 60;
  const auto text = text_of(path);
  std::uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (text.empty() || error != std::errc() || bytes >= kNone) return std::nullopt;
  return bytes;
}

/// Where the groups of a hierarchy can be seen, and which group is at the top of it there.
struct Mount {
  std::string point;
  std::string top;
};

// Fields: proc(5), "/proc/pid/mountinfo". Those before " - " number six or more.
std::optional<Mount> find_mount(const std::string& mounts, bool second_version) {
  for (const auto& line : split(mounts, '\n')) {
    const auto middle = line.find(" - ");
    if (middle == std::string::npos) continue;
    const auto left = split(line.substr(0, middle), ' ');
    const auto right = split(line.substr(middle + 3), ' ');
    if (left.size() < 6 || right.size() < 3) continue;
    if (right[0] != (second_version ? "cgroup2" : "cgroup")) continue;
    if (!second_version && ("," + right[2] + ",").find(",memory,") == std::string::npos) continue;
    return Mount{left[4], left[3]};
  }
  return std::nullopt;
}

}  // namespace

std::optional<MemoryLimit> memory_limit(const std::string& root) {
  std::optional<MemoryLimit> least;
  const auto mounts = text_of(root + "/proc/self/mountinfo");
  // cgroups(7), "/proc/pid/cgroup": hierarchy-ID:controllers:path, 0 and no controllers for version
  // 2.
  for (const auto& line : split(text_of(root + "/proc/self/cgroup"), '\n')) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const bool second_version = controllers.empty();
    if (!second_version && ("," + controllers + ",").find(",memory,") == std::string::npos)
      continue;
    const auto mount = find_mount(mounts, second_version);
    if (!mount) continue;
    auto group = line.substr(second + 1);
    // In a container the mount shows a part of the hierarchy, from `top` on.
    if (mount->top != "/" && group.starts_with(mount->top)) group.erase(0, mount->top.size());
    while (group.ends_with('/')) group.pop_back();
    for (;;) {
      const auto directory = root + mount->point + group;
      for (const auto* name : {"memory.max", "memory.high", "memory.limit_in_bytes"}) {
        const auto path = directory + "/" + name;
        const auto bytes = limit_in(path);
        if (bytes && (!least || *bytes < least->bytes))
          least = MemoryLimit{*bytes, path.substr(root.size())};
      }
      const auto slash = group.rfind('/');
      if (slash == std::string::npos) break;
      group.resize(slash);
    }
  }
  return least;
}

}  // namespace weir::io
