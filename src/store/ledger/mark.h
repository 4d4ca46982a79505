#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/home.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "io/directory.h"
#include "store/ledger/manifest_memory.h"
#include "wal/segment.h"

namespace weir::store {

/// What a store is known to have of an archive, in the file ".pgweir-store" in the archive
/// directory. It may lag, and is never ahead. If it is lost, it is rebuilt by asking the store. A
/// value.
struct Mark {
  /// Consecutive segments on one timeline, all of them stored.
  struct Run {
    wal::SegmentName first;
    wal::SegmentName last;
    bool operator==(const Run&) const = default;
  };
  std::string store{};  ///< store and place; not valid for another one
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size{};
  std::vector<Run> sent{};                   ///< in order, not adjacent
  std::vector<wal::TimelineId> histories{};  ///< in order
  /// The store was emptied or replaced, and may still lack some of these: its first segment tells
  /// nothing of the earlier ones.
  bool emptied = false;
  /// The store to which the archive is sent now, and which has nothing of it yet; empty: `store`.
  std::string next_store{};
  bool operator==(const Mark&) const = default;

  /// The store to which the archive is sent.
  [[nodiscard]] const std::string& target() const {
    return next_store.empty() ? store : next_store;
  }
  /// Nothing has been uploaded yet.
  [[nodiscard]] bool empty() const { return sent.empty() && histories.empty(); }
  [[nodiscard]] bool has(wal::SegmentName segment) const;
  [[nodiscard]] bool has_history(wal::TimelineId timeline) const;
  void add(wal::SegmentName segment);
  void add_history(wal::TimelineId timeline);
  void remove(wal::SegmentName segment);
};

inline constexpr std::string_view kMarkName = ".pgweir-store";
inline constexpr std::string_view kMarkLockName = ".pgweir-store.lock";

/// Returns nullopt if there is none, or it is invalid: then nothing is known to be stored. Throws
/// Error{io}.
[[nodiscard]] std::optional<Mark> read_mark(io::Shelf& archive);
/// Likewise, before WAL is removed: throws Error{damage} if there is one and it is invalid, because
/// it is unknown then what is still to be uploaded.
[[nodiscard]] std::optional<Mark> read_mark_for_removal(io::Shelf& archive);
/// The system identifier of an archive's WAL or, without any, that of its mark: whose WAL was
/// uploaded from there. nullopt: neither shows one. Throws as archive::read_identity().
[[nodiscard]] std::optional<std::uint64_t> cluster_of(io::Shelf& archive,
                                                      const archive::Listing& listing);
/// The complete segment of an archive that its mark lacks: the one with the lowest number, on any
/// timeline. What only a former store has counts as lacking. nullopt: there is none, or no mark of
/// this cluster.
[[nodiscard]] std::optional<wal::SegmentName> first_not_sent(const std::optional<Mark>& mark,
                                                             const archive::Identity& cluster,
                                                             const archive::Listing& listing);
/// The manifest memory in the same file: the mark contains nothing without a manifest line. nullopt
/// likewise.
[[nodiscard]] std::optional<ManifestMemory> read_manifest_memory(io::Shelf& archive);
/// The last line of the chain that the store must have: lines that are kept here until they fill an
/// object are not there yet. nullopt: it has no line of the chain.
[[nodiscard]] std::optional<std::string> stored_head(const ManifestMemory& memory);

/// Durable when it returns. Throws Error{disk_full, io, durability}.
void keep_mark(archive::Home& home, const Mark& mark, const ManifestMemory& manifest = {});

/// The right to upload an archive's files, held by one process at a time, until the object is
/// destroyed or the process ends. Returns nullptr if another process has it. Throws Error{io} if it
/// cannot be locked at all.
[[nodiscard]] std::unique_ptr<io::File> try_lock_mark(io::Directory& archive);

}  // namespace weir::store
