#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/shelf.h"

namespace weir::io {

/// A shelf whose calls return within a time limit. A network file system that hangs blocks a
/// process indefinitely; a caller that has another archive to continue with does not have to wait
/// for it. Each call is made by a thread of the shelf's own, and throws Error{io} (ETIMEDOUT) if it
/// has not returned within `patience`. As long as that call hangs, all others throw at once; after
/// it has returned, the shelf works again. If the shelf is destroyed meanwhile, the thread is
/// abandoned. The underlying shelf is opened by the first call, and again after a call that could
/// not open it; the first call also starts the thread. The cost is a hand-over to the thread, and
/// one more copy of the bytes read.
class BoundedShelf final : public Shelf, private Identities {
 public:
  using Open = std::function<std::unique_ptr<Shelf>()>;
  /// `path` is for messages. `open` and its result are used by the thread alone. During a call,
  /// `stop` is queried, if set: if it returns true, Error{retry} is thrown.
  BoundedShelf(std::string path, Open open, std::chrono::milliseconds patience,
               std::function<bool()> stop = nullptr);
  ~BoundedShelf() override;

  [[nodiscard]] const std::string& path() const override { return path_; }
  [[nodiscard]] std::vector<DirectoryEntry> list() override;
  [[nodiscard]] std::vector<DirectoryName> names() override;
  [[nodiscard]] std::optional<DirectoryEntry> find(const std::string& name) override;
  [[nodiscard]] std::unique_ptr<Bytes> open_bytes(const std::string& name) override;
  [[nodiscard]] Identities* identities() override { return this; }

 private:
  class Worker;
  class BoundedBytes;

  std::optional<FileIdentity> of(const std::string& name) override;
  FileIdentity of_directory() override;
  bool leads_to(const std::string& name, const File& file) override;

  const std::string path_;
  const std::shared_ptr<Worker> worker_;
};

}  // namespace weir::io
