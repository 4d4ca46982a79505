#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/home.h"
#include "archive/identity.h"
#include "base/log.h"
#include "io/directory.h"
#include "store/layout.h"
#include "store/ledger/manifest_writer.h"
#include "store/ledger/mark.h"
#include "store/object_store.h"
#include "store/send/same_cluster.h"
#include "store/send/upload_start.h"

namespace weir::store {

/// The records of one archiver about what a store has of an archive: the lines of its manifest, in
/// the store, and the mark, on disk, which advances after them (P19). Does not own its arguments.
/// One thread.
class Ledger {
 public:
  struct Options {
    std::string store_name{};  ///< identifies store and place, as in the mark
    std::shared_ptr<const SignifyKey> manifest_key{};  ///< nullptr: not signed
    std::uint64_t seed = 0;
  };
  Ledger(io::Directory& archive, ObjectStore& store, const Layout& layout, Options options,
         Log& log);

  /// Returns what counts as sent. If the archive has no mark of this cluster yet, it gets an empty
  /// one: even if the store does not answer, a prune keeps what is to be uploaded. So it does if
  /// the mark is of another store, which stays until something is uploaded. Throws Error{io,
  /// durability}.
  const Mark& start(const archive::Identity& cluster);
  /// Before anything is sent, until is_open(): determines what the store supports, checks that the
  /// place is this cluster's, and finds the manifest: one of these steps each time. Can be repeated
  /// after failures. Throws StoreError, Error{conflict}.
  void open_further();
  [[nodiscard]] bool is_open() const { return manifest_.has_value(); }
  [[nodiscard]] Conditions conditions() const { return *conditions_; }
  /// Files count as sent, and the place had no record of its cluster: it was emptied or replaced.
  /// Remembered until place_is_whole(), by later processes as well.
  [[nodiscard]] bool was_emptied() const { return emptied_; }
  /// Before the record is written again: that it is missing is the only trace. Throws
  /// Error{durability}.
  void place_was_emptied();
  /// The store has everything in `mark` again, but acknowledged losses. Throws likewise.
  void place_is_whole(const Mark& mark);

  /// Lines of objects that the store has. They are not put yet.
  void add(std::vector<ManifestEntry> lines);
  [[nodiscard]] bool due() const { return manifest_ && manifest_->due(); }
  /// Can be repeated after failures. Throws StoreError.
  void put() { manifest_->put(); }
  /// Only after put(): every marked file has a line, even after a power failure. (Files with a line
  /// that are not marked are checked, and get a line, again.) Throws as keep_mark().
  void keep(const Mark& mark);
  /// As it is on disk.
  [[nodiscard]] const Mark& written() const { return written_; }
  /// Once open.
  [[nodiscard]] ManifestWriter& manifest() { return *manifest_; }
  [[nodiscard]] bool in_doubt() const { return manifest_ && manifest_->in_doubt(); }

 private:
  void keep_first_mark(const std::function<void()>& keep);
  void write(const Mark& mark);
  void write_emptied();

  io::Directory& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const Options options_;
  Log& log_;
  archive::DirectoryHome home_;
  std::optional<archive::Identity> cluster_;
  Mark written_;                              ///< without `emptied`
  std::optional<ManifestMemory> remembered_;  ///< as it is on disk
  std::optional<Conditions> conditions_;
  std::optional<SameCluster> place_;  ///< until it is known to be this cluster's
  bool place_is_ours_ = false;
  bool emptied_ = false;
  std::optional<ManifestWriter> manifest_;
};

}  // namespace weir::store
