#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "archive/listing.h"
#include "store/http/url.h"
#include "wal/segment.h"

namespace weir::store {

/// Maps an archive's file names to keys in a bucket, and back. Pure.
///   barman  PREFIX/NAME/wals/0000000100000000/000000010000000000000003.zst  (barman-cloud)
///           PREFIX/NAME/wals/00000002.history
///   wal-g   PREFIX/wal_005/000000010000000000000003.zst              (WAL-G, WALG_S3_PREFIX)
///           PREFIX/wal_005/00000002.history
/// pgweir's own objects are elsewhere: those programs take every object whose name starts with a
/// segment's name for the segment.
class Layout {
 public:
  enum class Form { barman, wal_g };

  /// `name`: Barman's server name; not used by WAL-G.
  Layout(Form form, const Place& place, std::string_view name);

  [[nodiscard]] std::string key(const archive::SegmentFileName& file) const;
  /// The common prefix of all forms of the segment.
  [[nodiscard]] std::string key(wal::SegmentName segment) const;
  [[nodiscard]] std::string history_key(wal::TimelineId timeline) const;
  /// The key of a file by its name in an archive: a complete segment in any form, a history file in
  /// any form, a backup history file, a loss record or its acknowledgment. Returns nullopt for
  /// other files.
  [[nodiscard]] std::optional<std::string> key_of(std::string_view name) const;
  /// The key of a file that is not WAL, such as "pgweir.json".
  [[nodiscard]] std::string own_key(std::string_view name) const {
    return root_ + std::string(name);
  }

  /// Common prefix of everything in this archive.
  [[nodiscard]] const std::string& root() const { return root_; }
  /// Prefix of loss records. In key order they follow all WAL: a listing to the end includes them.
  [[nodiscard]] std::string records_prefix() const { return own_key("weir/"); }
  /// Prefix of all WAL and all history files.
  [[nodiscard]] const std::string& wal_prefix() const { return wal_; }
  /// The file's name in an archive, also if the object is that file encrypted (kAgeSuffix); nullopt
  /// if this layout has no such key. Other names below the WAL's prefix are accepted.
  [[nodiscard]] std::optional<std::string> file_of(std::string_view key) const;
  /// The `after` of a listing that includes this segment and everything after it.
  [[nodiscard]] std::string before(wal::SegmentName segment, wal::SegmentSize size) const;

  [[nodiscard]] Form form() const { return form_; }

 private:
  Form form_;
  std::string root_;  ///< ends with a slash, or is empty
  std::string wal_;   ///< likewise
};

/// Appended to the key of a segment that is encrypted (age_file.h).
inline constexpr std::string_view kAgeSuffix = ".age";
[[nodiscard]] std::string_view to_string(Layout::Form form);

}  // namespace weir::store
