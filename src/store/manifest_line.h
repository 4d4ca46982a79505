#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::store {

/// What a manifest tells of one object, or of a prune. A value.
struct ManifestEntry {
  enum class Kind {
    put,        ///< stored by who writes the line
    same,       ///< it was there, and its content was compared with the archive's
    seen,       ///< it was there, and nobody could compare it: encrypted, without the key
    rewrapped,  ///< given to other recipients
    padded,     ///< stored unfinished, zeros behind `last` (padded.h), until the true one comes
    begin,      ///< what lies before this segment was removed
    cut,        ///< a chain begins at this object of it (`size`, a number): those before may go
  };
  Kind kind = Kind::put;
  std::string name{};  ///< of the object behind its last slash; begin: a segment
  std::uint64_t size = 0;
  std::string sha256{};                 ///< of the stored bytes; empty: nobody has told it
  std::string md5{};                    ///< likewise
  wal::Lsn first{};                     ///< first record that begins in it; 0/0: none does
  wal::Lsn last{};                      ///< end of the last one that ends in it
  std::optional<wal::PgTime> commit{};  ///< of the last transaction that ends in it
  std::string hmac{};                   ///< of the plain segment; empty: it is not encrypted
  std::uint64_t system_identifier = 0;
  // Of begin: the chain, and its last line then. Of cut: the chain, and its last line before that
  // object.
  std::string chain{};
  std::string after{};
  bool operator==(const ManifestEntry&) const = default;
};

/// An entry, linked with the line before it. A line of text:
///   KIND NAME SIZE SHA256 MD5 FIRST LAST COMMIT HMAC SYSTEM BEFORE
///   begin SEGMENT CHAIN AFTER SYSTEM BEFORE
///   cut NUMBER CHAIN AFTER SYSTEM BEFORE
/// "-" where there is nothing. Pure.
struct ManifestLine {
  ManifestEntry entry{};
  std::string before{};  ///< hash of the line before; of the first one: genesis_of()
  bool operator==(const ManifestLine&) const = default;

  /// nullopt: it is no such line.
  [[nodiscard]] static std::optional<ManifestLine> parse(std::string_view text);
  /// Without the new line.
  [[nodiscard]] std::string to_text() const;
};

[[nodiscard]] std::string_view to_string(ManifestEntry::Kind kind);
/// SHA-256 of the line's text: what the next one, and a signature, stand for.
[[nodiscard]] std::string hash_of_line(std::string_view text);
/// What stands before a chain's first line: no line of one chain can be the first of another.
[[nodiscard]] std::string genesis_of(std::string_view chain);
/// A name without its timeline: what is behind "begin" goes, on all timelines.
[[nodiscard]] std::string place_of(wal::SegmentName segment);
/// 64 digits in lower case.
[[nodiscard]] bool is_manifest_hash(std::string_view text);

}  // namespace weir::store
