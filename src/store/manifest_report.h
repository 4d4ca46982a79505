#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/manifest_chain.h"
#include "store/object_store.h"
#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::store {

/// What the manifests of a place tell of the objects there, and whether they are to be believed.
struct ManifestReport {
  struct Chain {
    std::string id;
    std::uint64_t lines = 0;
    std::string head{};
    std::string signed_by{};  ///< number of the key; empty: it is not signed
    bool proved = false;      ///< by one of the keys that were given
  };
  /// Of a timeline, without reading what may be encrypted.
  struct Coverage {
    wal::TimelineId timeline = 0;
    std::string first;  ///< segments
    std::string last;
    std::uint64_t segments = 0;
    wal::Lsn from{};                      ///< first record that begins there
    wal::Lsn to{};                        ///< end of the last record
    std::optional<wal::PgTime> commit{};  ///< the last one
  };
  std::vector<Chain> chains{};
  std::vector<Coverage> coverage{};
  std::string begin{};                  ///< the first segment after the last prune
  std::vector<std::string> findings{};  ///< what must not be
  std::vector<std::string> remarks{};   ///< what somebody should know
  std::uint64_t objects = 0;            ///< of which a line tells, and that are there
  std::uint64_t by_size = 0;            ///< of these, compared by their sizes only
  std::uint64_t not_compared = 0;  ///< "present, not compared" with the archive that told of it
  std::uint64_t untold = 0;        ///< objects of which no line tells

  [[nodiscard]] bool sound() const { return findings.empty(); }
};

/// What the chains are held against.
struct ManifestQuestion {
  bool keys_given = false;                         ///< what no key has proved is believed by nobody
  std::vector<std::string> expected_heads{};       ///< each is a line of one of the chains
  std::optional<wal::SegmentSize> segment_size{};  ///< to find gaps; nullopt: it is not known
};

/// The segment that an object of this name (behind its last slash) is a form of; nullopt: a
/// history.
[[nodiscard]] std::optional<wal::SegmentName> segment_of_object(std::string_view name);

/// The objects of segments and histories, by the last part of their keys.
using StoredObjects = std::map<std::string, ObjectEntry>;

/// Holds what is there against what the lines tell of it: names, sizes, ETags. Pure.
[[nodiscard]] ManifestReport check_manifests(std::span<const ManifestChain> chains,
                                             const StoredObjects& objects,
                                             const ManifestQuestion& question);

/// What the lines tell of each object: of each chain that is believed the newest line; and what it
/// was to become when it was given to others, of which not every line came true. By name.
using ToldObjects = std::map<std::string, std::vector<const ManifestEntry*>>;
[[nodiscard]] ToldObjects told_objects(std::span<const ManifestChain> chains, bool keys_given);

[[nodiscard]] std::string to_text(const ManifestReport& report);
/// One JSON object.
[[nodiscard]] std::string to_json(const ManifestReport& report);

}  // namespace weir::store
