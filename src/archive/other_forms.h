#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "archive/listing.h"
#include "wal/segment.h"

namespace weir::archive {

/// A format of other archiving programs that pgweir does not read, and the program that unpacks it.
struct OtherForm {
  std::string_view suffix;
  std::string_view name;
  std::string_view unpack;
};
inline constexpr std::array kOtherForms = {
    OtherForm{".br", "brotli", "brotli -d"},  OtherForm{".lzo", "lzop", "lzop -d"},
    OtherForm{".bz2", "bzip2", "bunzip2"},    OtherForm{".xz", "xz", "xz -d"},
    OtherForm{".lzma", "lzma", "xz -d"},      OtherForm{".snappy", "snappy", "snzip -d"},
    OtherForm{".gpg", "gpg", "gpg --decrypt"}};

/// A complete segment, or the history of a timeline, in such a format: it exists, and cannot be
/// read.
struct OtherFile {
  wal::TimelineId timeline = 0;
  std::optional<wal::SegmentName> segment{};  ///< nullopt: the history
  const OtherForm* form = nullptr;
};
/// "000000010000000000000002.bz2", "00000002.history.xz"; nullopt for any other name.
[[nodiscard]] std::optional<OtherFile> parse_other_form(std::string_view name);

/// The file that rsync was copying under this hidden name, such as
/// ".000000010000000000000002.zst.x3F9aQ": it does so until the file is complete, and leaves it if
/// it is interrupted. nullopt for other names, and if `listing` has the segment, complete if it was
/// a complete one.
[[nodiscard]] std::optional<SegmentFileName> parse_rsync_copy(std::string_view name,
                                                              const Listing& listing);

}  // namespace weir::archive
