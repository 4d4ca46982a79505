#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace weir::io {

/// Another process that writes into a directory.
struct ForeignWriter {
  pid_t process = 0;
  std::string program;  ///< empty if it cannot be known
  bool operator==(const ForeignWriter&) const = default;
};

/// Finds the process that has the lock of the directory (Directory::try_lock()), or one of its
/// files open for writing whose name `counts`. Nothing is locked or opened: /proc is read, so the
/// lock is seen for any process, but files of other users' processes by root alone. Returns nullopt
/// if none is found.
[[nodiscard]] std::optional<ForeignWriter> find_foreign_writer(
    const std::string& directory, const std::function<bool(std::string_view)>& counts);

/// The same for the directory's lock alone. Testing the lock by taking it would make a receiver
/// that starts at that moment exit. Locks of processes outside of this PID namespace are not seen,
/// nor if the kernel's device number differs from stat()'s (btrfs, overlayfs).
[[nodiscard]] std::optional<ForeignWriter> find_lock_holder(const std::string& directory);

}  // namespace weir::io
