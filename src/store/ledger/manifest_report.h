#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "archive/losses.h"
#include "archive/timelines.h"
#include "store/ledger/manifest_chain.h"
#include "store/object_store.h"
#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::store {

/// What the manifests of a place say about its objects, and whether they can be trusted.
struct ManifestReport {
  struct Chain {
    std::string id;
    std::uint64_t lines = 0;
    std::string head{};
    std::string signed_by{};  ///< number of the key; empty: not signed
    bool proved = false;      ///< signed by one of the given keys
  };
  /// Coverage of a timeline, determined without reading objects that may be encrypted.
  struct Coverage {
    wal::TimelineId timeline = 0;
    std::string first;  ///< segments
    std::string last;
    std::uint64_t segments = 0;
    wal::Lsn from{};                      ///< start of its first record
    wal::Lsn to{};                        ///< end of the last record
    std::optional<wal::PgTime> commit{};  ///< the last one
  };
  std::vector<Chain> chains{};
  std::vector<Coverage> coverage{};
  std::string begin{};                  ///< the first segment after the last prune
  std::vector<std::string> findings{};  ///< errors
  std::vector<std::string> remarks{};   ///< warnings and notes
  std::uint64_t objects = 0;            ///< with a line, and present
  std::uint64_t by_size = 0;            ///< of these, compared by size only
  std::uint64_t not_compared = 0;       ///< "present, not compared" with the archive of their chain
  std::uint64_t untold = 0;             ///< objects without a line
  std::uint64_t frozen = 0;             ///< in an archive class or tier
  std::string first_frozen{};           ///< its name

  [[nodiscard]] bool sound() const { return findings.empty(); }
};

/// The entries of each object: the newest line of each trusted chain, and those of rewraps, not all
/// of which were carried out. By name.
using ToldObjects = std::map<std::string, std::vector<const ManifestEntry*>>;

/// What the chains are checked against.
struct ManifestQuestion {
  bool keys_given = false;                         ///< chains that no key proves are not trusted
  std::vector<std::string> expected_heads{};       ///< each must be a line of one of the chains
  std::optional<wal::SegmentSize> segment_size{};  ///< to find gaps; nullopt: unknown
  archive::Timelines timelines{};                  ///< the store's, likewise
  /// Holes that are acknowledged or accepted: what they lack is a remark. The next timeline of an
  /// accepted one may be unknown; it is then that of its start.
  std::vector<archive::Loss> known_holes{};
  /// Objects are compared by the SHA-256 of their lines afterwards: then the MD5 of a listing does
  /// not count, which may be that of an object as the store has encrypted it.
  bool deep = false;
  /// The lines as read before the objects were listed: that a later line's object is not among
  /// them, or is still the one of an older line, proves nothing. nullptr: all lines are older than
  /// the listing.
  const ToldObjects* older = nullptr;
};

/// The segment of an object with this name (after its last slash); nullopt: a history file.
[[nodiscard]] std::optional<wal::SegmentName> segment_of_object(std::string_view name);

/// The objects of segments and histories, by the last part of their keys.
using StoredObjects = std::map<std::string, ObjectEntry>;

/// Compares the objects with their lines: names, sizes, MD5s. Pure.
[[nodiscard]] ManifestReport check_manifests(std::span<const ManifestChain> chains,
                                             const StoredObjects& objects,
                                             const ManifestQuestion& question);

[[nodiscard]] ToldObjects told_objects(std::span<const ManifestChain> chains, bool keys_given);

/// The first segment after the last recorded prune, in the trusted chains.
[[nodiscard]] std::optional<wal::SegmentName> recorded_begin(std::span<const ManifestChain> chains,
                                                             bool keys_given);
/// The same for is_pruned(): the last position for each timeline that was the newest one of the
/// prunes until then. Empty: they say nothing that counts.
[[nodiscard]] std::vector<wal::SegmentName> recorded_begins(std::span<const ManifestChain> chains,
                                                            bool keys_given);
/// A prune has recorded that the archive starts at one of `begins`: it has removed the segment, or
/// will. Not if its timeline is newer: it may have begun since, before that position (a recovery to
/// an earlier point in time).
[[nodiscard]] bool is_pruned(wal::SegmentName segment, std::span<const wal::SegmentName> begins);

/// Whether an object is one of those that its lines list.
struct ObjectFit {
  bool same = false;
  bool by_size = false;      ///< size only: the MD5 is unknown, or the line has none
  std::string difference{};  ///< if it is not: "it has 5 bytes, and had 6"
};
[[nodiscard]] ObjectFit fit_of(const ObjectEntry& object,
                               std::span<const ManifestEntry* const> lines);

/// One of its lines has the object's SHA-256.
[[nodiscard]] bool has_sha256(std::span<const ManifestEntry* const> lines);

[[nodiscard]] std::string to_text(const ManifestReport& report);
/// One JSON object.
[[nodiscard]] std::string to_json(const ManifestReport& report);

}  // namespace weir::store
