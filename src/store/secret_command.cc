#include "store/secret_command.h"

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/error.h"

namespace weir::store {

SecretOutput run_for_secret(const std::string& command, std::uint64_t most) {
  using Close = int (*)(std::FILE*);
  std::string output;
  int status = -1;
  {
    std::unique_ptr<std::FILE, Close> pipe(::popen(command.c_str(), "re"), &::pclose);
    if (!pipe) throw Error(ErrorKind::retry, "a command for secrets could not be started");
    std::array<char, 4096> buffer{};
    while (const auto count = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) {
      output.append(buffer.data(), count);
      if (output.size() > most) break;
    }
    ::explicit_bzero(buffer.data(), buffer.size());
    status = ::pclose(pipe.release());
  }
  return {Secret(std::move(output)), WIFEXITED(status) ? WEXITSTATUS(status) : status};
}

}  // namespace weir::store
