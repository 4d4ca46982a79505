#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/home.h"
#include "io/directory.h"
#include "store/manifest_memory.h"
#include "wal/segment.h"

namespace weir::store {

/// What of an archive a store surely has, in the file ".pgweir-store" beside its WAL: what somebody
/// has seen stored there, so it may lag, and is never ahead. Lost, it is found out again by asking
/// the store. A value.
struct Mark {
  /// Segments in a row on one timeline, all of them stored.
  struct Run {
    wal::SegmentName first;
    wal::SegmentName last;
    bool operator==(const Run&) const = default;
  };
  std::string store{};  ///< which one, and where in it: another one has nothing of this
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size{};
  std::vector<Run> sent{};                   ///< in order, none touches another
  std::vector<wal::TimelineId> histories{};  ///< in order
  bool operator==(const Mark&) const = default;

  [[nodiscard]] bool has(wal::SegmentName segment) const;
  [[nodiscard]] bool has_history(wal::TimelineId timeline) const;
  void add(wal::SegmentName segment);
  void add_history(wal::TimelineId timeline);
  void remove(wal::SegmentName segment);
};

inline constexpr std::string_view kMarkName = ".pgweir-store";
inline constexpr std::string_view kMarkLockName = ".pgweir-store.lock";

/// nullopt: there is none, or none that can be read: then nothing is known to be stored. Throws
/// Error{io}.
[[nodiscard]] std::optional<Mark> read_mark(io::Shelf& archive);
/// What stands beside it in the same file: the mark has nothing of which no line of the manifest
/// tells. nullopt likewise.
[[nodiscard]] std::optional<ManifestMemory> read_manifest_memory(io::Shelf& archive);

/// Durable when it returns. Throws Error{disk_full, io, durability}.
void keep_mark(archive::Home& home, const Mark& mark, const ManifestMemory& manifest = {});

/// The right to send an archive's files, which one process at a time has. It ends with the object,
/// and with the process. nullptr: somebody else has it. Throws Error{io} where it cannot be had at
/// all.
[[nodiscard]] std::unique_ptr<io::File> try_lock_mark(io::Directory& archive);

}  // namespace weir::store
