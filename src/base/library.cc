#include "base/library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <climits>

namespace weir {

namespace {

std::string last_reason() {
  const char* const text = ::dlerror();
  return text != nullptr ? text : "no reason given";
}

}  // namespace

Library::Library(const std::string& name, const std::string& path, const char* hint)
    : name_(path.empty() ? name : path), hint_(hint) {
  if (!path.empty()) handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) reason_ = path.empty() ? "it is not installed" : last_reason();
}

Library Library::module(const std::string& name, const char* hint) {
  std::array<char, PATH_MAX> path{};
  const auto size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  std::string own(path.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  own = own.substr(0, own.rfind('/'));
  for (const auto& directory : {own, own + "/../lib/pgweir", std::string("/usr/lib/pgweir"),
                                std::string("/usr/local/lib/pgweir")}) {
    const auto place = fmt::format("{}/{}", directory, name);
    if (::access(place.c_str(), F_OK) == 0) return {name, place, hint};
  }
  return {name, "", hint};
}

void* Library::find(const char* symbol) const {
  if (handle_ == nullptr) throw failed(reason_);
  void* const found = ::dlsym(handle_, symbol);
  if (found == nullptr) throw failed(last_reason());
  return found;
}

Error Library::failed(const std::string& reason) const {
  return Error(ErrorKind::usage, fmt::format("could not load {}: {}", name_, reason)).hint(hint_);
}

}  // namespace weir
