#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/descriptor.h"
#include "io/tree.h"
#include "recovery/backup.h"

namespace weir::drill {

/// A private directory for one drill, accessible to its user only: the copy of the backup, its
/// tablespaces, the server's settings, log and socket. It is removed with all of its contents on
/// destruction.
///
/// It is locked as long as this process, or the server in it, is running. The next drill therefore
/// recognizes what a killed one has left: a directory with our name, mark and owner that no process
/// has locked.
class Sandbox {
 public:
  /// In the directory `place`, which must be there. Throws Error{usage, io, disk_full}.
  explicit Sandbox(const std::string& place);
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string data() const { return path_ + "/data"; }
  [[nodiscard]] std::string tablespace(const std::string& oid) const {
    return path_ + "/tablespaces/" + oid;
  }
  /// The backup's destination; its settings are not copied.
  [[nodiscard]] recovery::Layout layout() const {
    return {.data = data(),
            .tablespace = [this](const std::string& oid) { return tablespace(oid); }};
  }
  /// A process that inherits it keeps the sandbox from being treated as a leftover.
  [[nodiscard]] int lock() const { return lock_->descriptor(); }
  /// A path of the directory that is short enough for a socket's address: for processes of this
  /// user, as long as this object exists.
  [[nodiscard]] std::string socket_directory() const;
  /// Removes everything now; throws Error{io} if that cannot be done.
  void remove();

  /// Removes what killed drills have left in `place`. Returns the names.
  static std::vector<std::string> remove_leftovers(const std::string& place);

 private:
  std::string path_;
  std::optional<io::LockFile> lock_;
  Descriptor directory_;
};

}  // namespace weir::drill
