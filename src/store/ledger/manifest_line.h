#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::store {

/// A manifest's entry for one object, or for a prune. A value.
struct ManifestEntry {
  enum class Kind {
    put,        ///< stored by the writer of the line
    same,       ///< existed; its content was compared with the archive's
    seen,       ///< existed, and could not be compared: encrypted, without the key
    rewrapped,  ///< rewrapped for other recipients
    padded,     ///< stored incomplete, zeros after `last` (padded.h), until the complete one
                ///< replaces it
    begin,      ///< everything before this segment was removed
    cut,        ///< a chain starts at this object of it (`size`, a number): earlier ones may be
                ///< removed
  };
  Kind kind = Kind::put;
  std::string name{};  ///< the object's, after its last slash; begin: a segment
  std::uint64_t size = 0;
  std::string sha256{};                 ///< of the stored bytes; empty: unknown
  std::string md5{};                    ///< likewise
  wal::Lsn first{};                     ///< first record that starts in it; 0/0: none does
  wal::Lsn last{};                      ///< end of the last record that ends in it
  std::optional<wal::PgTime> commit{};  ///< of the last transaction that ends in it
  std::string hmac{};                   ///< of the plain segment; empty: not encrypted
  std::uint64_t system_identifier = 0;
  // For `begin`: the chain, and its last line at that time. For `cut`: the chain, and its last line
  // before that object.
  std::string chain{};
  std::string after{};
  bool operator==(const ManifestEntry&) const = default;
};

/// An entry, linked with the line before it. A line of text:
///   KIND NAME SIZE SHA256 MD5 FIRST LAST COMMIT HMAC SYSTEM BEFORE
///   begin SEGMENT CHAIN AFTER SYSTEM BEFORE
///   cut NUMBER CHAIN AFTER SYSTEM BEFORE
/// "-" for an empty field. Pure.
struct ManifestLine {
  ManifestEntry entry{};
  std::string before{};  ///< hash of the line before; for the first one: genesis_of()
  bool operator==(const ManifestLine&) const = default;

  /// Returns nullopt for an invalid line.
  [[nodiscard]] static std::optional<ManifestLine> parse(std::string_view text);
  /// Without the newline.
  [[nodiscard]] std::string to_text() const;
};

[[nodiscard]] std::string_view to_string(ManifestEntry::Kind kind);
/// SHA-256 of the line's text, which the next line and a signature cover.
[[nodiscard]] std::string hash_of_line(std::string_view text);
/// The `before` of a chain's first line: differs for each chain, so no line of one chain can be the
/// first of another.
[[nodiscard]] std::string genesis_of(std::string_view chain);
/// A name without its timeline: everything before "begin" is removed on all timelines.
[[nodiscard]] std::string place_of(wal::SegmentName segment);
/// 64 digits in lower case.
[[nodiscard]] bool is_manifest_hash(std::string_view text);

}  // namespace weir::store
