#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "archive/listing.h"
#include "store/url.h"
#include "wal/segment.h"

namespace weir::store {

/// Under which keys an archive's files lie in a bucket, and back. Pure.
///   barman  PREFIX/NAME/wals/0000000100000000/000000010000000000000003.zst  (barman-cloud)
///           PREFIX/NAME/wals/00000002.history
///   wal-g   PREFIX/wal_005/000000010000000000000003.zst                     (WAL-G,
///   WALG_S3_PREFIX)
///           PREFIX/wal_005/00000002.history
/// What is pgweir's own is never among them: those programs take whatever begins with a segment's
/// name for the segment.
class Layout {
 public:
  enum class Form { barman, wal_g };

  /// `name`: Barman's server name; WAL-G has none.
  Layout(Form form, const Place& place, std::string_view name);

  [[nodiscard]] std::string key(const archive::SegmentFileName& file) const;
  /// Of what begins so: all forms of the segment.
  [[nodiscard]] std::string key(wal::SegmentName segment) const;
  [[nodiscard]] std::string history_key(wal::TimelineId timeline) const;
  /// Of a file by its name in an archive: a finished segment in any form, a history in any form, a
  /// backup history, the record of a loss or what acknowledges it. nullopt: it has no place here.
  [[nodiscard]] std::optional<std::string> key_of(std::string_view name) const;
  /// Of a file that is no WAL, such as "pgweir.json".
  [[nodiscard]] std::string own_key(std::string_view name) const {
    return root_ + std::string(name);
  }

  /// Everything of this archive begins so.
  [[nodiscard]] const std::string& root() const { return root_; }
  /// Records of losses begin so. In the order of keys they come behind all WAL: who lists up to the
  /// end has them, too.
  [[nodiscard]] std::string records_prefix() const { return own_key("weir/"); }
  /// All WAL and all histories begin so.
  [[nodiscard]] const std::string& wal_prefix() const { return wal_; }
  /// The file's name in an archive, also if the object is that file encrypted (kAgeSuffix);
  /// nullopt: a key that this layout does not give. Names below the WAL's prefix that are no WAL's
  /// pass.
  [[nodiscard]] std::optional<std::string> file_of(std::string_view key) const;
  /// Where a listing begins that is to have this segment and what comes behind it: its `after`.
  [[nodiscard]] std::string before(wal::SegmentName segment, wal::SegmentSize size) const;

  [[nodiscard]] Form form() const { return form_; }

 private:
  Form form_;
  std::string root_;  ///< with a slash at its end, or empty
  std::string wal_;   ///< likewise
};

/// Appended to the key of a segment that is encrypted (age_file.h).
inline constexpr std::string_view kAgeSuffix = ".age";
[[nodiscard]] std::string_view to_string(Layout::Form form);

}  // namespace weir::store
