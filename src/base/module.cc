#include "base/module.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <vector>

namespace weir {

namespace {

std::vector<std::string> places_of(const std::string& file) {
  std::array<char, PATH_MAX> path{};
  const auto size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  std::string directory = size > 0 ? std::string(path.data(), static_cast<std::size_t>(size)) : "";
  directory = directory.substr(0, directory.rfind('/'));
  return {fmt::format("{}/{}", directory, file),
          fmt::format("{}/../lib/pgweir/{}", directory, file),
          fmt::format("/usr/lib/pgweir/{}", file), fmt::format("/usr/local/lib/pgweir/{}", file)};
}

}  // namespace

Module load_module(const std::string& file, const char* symbol) {
  for (const auto& place : places_of(file)) {
    if (::access(place.c_str(), F_OK) != 0) continue;
    void* const library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    const void* const interface = library != nullptr ? ::dlsym(library, symbol) : nullptr;
    if (interface != nullptr) return {interface, place, {}};
    const char* const told = ::dlerror();
    return {nullptr, place, told != nullptr ? told : "it could not be loaded"};
  }
  return {nullptr, {}, "it is not installed"};
}

}  // namespace weir
