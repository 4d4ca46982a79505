#include "cli/config_file.h"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "base/error.h"

namespace weir::cli {

std::string read_config_file(const std::string& path) {
  const auto failed = [&](int code) {
    return Error(ErrorKind::usage,
                 "could not read the configuration file: " + std::generic_category().message(code))
        .with("path", path);
  };
  constexpr std::size_t kLargest = 1024 * 1024;
  using Closer = int (*)(std::FILE*);
  const std::unique_ptr<std::FILE, Closer> file(
      std::fopen(path.c_str(), "re"),  // check-includes: no archive data
      &std::fclose);
  if (!file) throw failed(errno);
  std::string text(kLargest + 1, '\0');
  errno = 0;
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) throw failed(errno);
  if (text.size() > kLargest) throw failed(EFBIG);
  return text;
}

}  // namespace weir::cli
