#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "archive/identity.h"
#include "cli/arguments.h"
#include "io/shelf.h"
#include "store/ledger/signify.h"
#include "store/open_store.h"
#include "store/shelf/near_shelf.h"

namespace weir::cli {

/// Goes to stderr: the output is the answer. From LogLevel::info on.
class StoreLog final : public Log {
 public:
  void write(LogLevel level, std::string_view message) override;
  bool enabled(LogLevel level) const override { return level >= LogLevel::info; }
};

/// An archive in the store that the options name, to be read.
class StoredArchive {
 public:
  StoredArchive(const store::StoreOptions& options, std::function<bool()> stop);
  [[nodiscard]] store::NearShelf& shelf() { return shelf_; }
  /// From now on listings of the shelf have only what the last recorded prune has left, or will
  /// leave: the rest may have holes while it is removed, and afterwards if the prune was killed, or
  /// the store kept some of it. If keys are given, one of them must prove the record. Throws
  /// StoreError.
  void hide_pruned(std::span<const store::SignifyPublic> keys);
  [[nodiscard]] store::OpenStore& opened() { return opened_; }
  /// Requests at once, --store-jobs.
  [[nodiscard]] std::size_t jobs() const { return jobs_; }
  [[nodiscard]] const store::Patience& patience() const { return patience_; }
  /// According to the place's own record (pgweir.json), which can be read without a private key.
  /// Throws Error{damage} if it is invalid, StoreError.
  [[nodiscard]] std::optional<archive::Identity> told_identity();

 private:
  StoreLog log_;
  const std::size_t jobs_;
  const store::Patience patience_;
  store::OpenStore opened_;
  store::NearShelf shelf_;
};
[[nodiscard]] std::unique_ptr<StoredArchive> open_stored_archive(const Arguments& arguments,
                                                                 std::function<bool()> stop);
/// For callers that do not wait: StoreError if the store gives no valid response for 5 s.
[[nodiscard]] std::unique_ptr<StoredArchive> open_stored_archive_briefly(
    const Arguments& arguments);

/// There are keys in memory from here on: the kernel must not write them to a core file.
void forbid_core_files();

}  // namespace weir::cli
