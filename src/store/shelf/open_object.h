#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "store/layout.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::store {

/// The start of the segment that is being written, as an object of its own
/// (--store-partial-interval), under
///   …/open/00000001/000000010000000000000003.00000000030A2C18.9f3c05d1a7e64b20-12.zst[.age]
/// the segment, the position up to which it is complete, and a unique suffix by archiver and
/// number, so no object is ever overwritten. Kept apart from the segments: Barman takes every
/// object whose name starts with a segment's name for the segment. A value.
struct OpenObject {
  wal::SegmentName segment;
  wal::Lsn end;
  std::string id;
  bool encrypted = false;

  auto operator<=>(const OpenObject&) const = default;
  [[nodiscard]] std::string key(const Layout& layout) const;
  /// Returns nullopt for other keys.
  [[nodiscard]] static std::optional<OpenObject> parse(const Layout& layout, std::string_view key);
  /// Prefix of all of a timeline, all of a segment, all there are.
  [[nodiscard]] static std::string prefix(const Layout& layout, wal::SegmentName segment);
  [[nodiscard]] static std::string prefix(const Layout& layout);
};

}  // namespace weir::store
