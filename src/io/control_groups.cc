#include "io/control_groups.h"

#include <sstream>

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

bool lists(const std::string& controllers, std::string_view controller) {
  return ("," + controllers + ",").find("," + std::string(controller) + ",") != std::string::npos;
}

/// Location of a mounted hierarchy, and the group at its top.
struct Mount {
  std::string point;
  std::string top;
};

// Fields: proc(5), "/proc/pid/mountinfo". There are six or more before " - ".
std::optional<Mount> find_mount(const std::string& mounts, std::string_view controller,
                                bool second_version) {
  for (const auto& line : split(mounts, '\n')) {
    const auto middle = line.find(" - ");
    if (middle == std::string::npos) continue;
    const auto left = split(line.substr(0, middle), ' ');
    const auto right = split(line.substr(middle + 3), ' ');
    if (left.size() < 6 || right.size() < 3) continue;
    if (right[0] != (second_version ? "cgroup2" : "cgroup")) continue;
    if (!second_version && !lists(right[2], controller)) continue;
    return Mount{left[4], left[3]};
  }
  return std::nullopt;
}

}  // namespace

std::string control_group_text(const std::string& path) {
  try {
    if (type_of(path) != PathType::file) return {};
    return read_small_file(path, kMostText);
  } catch (const Error&) {
    return {};
  }
}

std::vector<std::string> control_groups(std::string_view controller, const std::string& root) {
  std::vector<std::string> directories;
  const auto mounts = control_group_text(root + "/proc/self/mountinfo");
  // cgroups(7), "/proc/pid/cgroup": hierarchy-ID:controllers:path, 0 and no controllers for version
  // 2.
  for (const auto& line : split(control_group_text(root + "/proc/self/cgroup"), '\n')) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const bool second_version = controllers.empty();
    if (!second_version && !lists(controllers, controller)) continue;
    const auto mount = find_mount(mounts, controller, second_version);
    if (!mount) continue;
    auto group = line.substr(second + 1);
    // In a container the mount shows a part of the hierarchy, from `top` on.
    if (mount->top != "/" && group.starts_with(mount->top)) group.erase(0, mount->top.size());
    while (group.ends_with('/')) group.pop_back();
    for (;;) {
      directories.push_back(root + mount->point + group);
      const auto slash = group.rfind('/');
      if (slash == std::string::npos) break;
      group.resize(slash);
    }
  }
  return directories;
}

}  // namespace weir::io
