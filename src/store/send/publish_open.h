#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/published_open.h"
#include "archive/timelines.h"
#include "base/log.h"
#include "codec/codec.h"
#include "io/shelf.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/ledger/manifest_line.h"
#include "store/ledger/signify.h"
#include "store/object_store.h"
#include "store/sealed/sealing.h"
#include "store/write_once.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::store {

// For readers that only know whole segments: the flushed WAL after the last complete segment, under
// its segment's final name, zeros after its last record. If the timeline's server is permanently
// lost, no other file will ever get that name.

/// The partial segment after all complete ones, on the archive's newest timeline. Returns nullopt
/// if there is none.
[[nodiscard]] std::optional<wal::SegmentName> open_segment(const archive::Listing& listing,
                                                           wal::SegmentSize size);

/// Throws Error{retry} if the store lacks the preceding segment, or the history of its timeline:
/// the published segment would follow a gap. `listing`: of the archive, whose first segment has no
/// preceding one.
void require_what_is_before(ObjectStore& store, const Layout& layout, wal::SegmentName segment,
                            wal::SegmentSize size, const archive::Timelines& timelines,
                            const archive::Listing& listing);

struct PaddedSegment {
  wal::SegmentName segment;
  std::vector<std::byte> wal{};  ///< a whole segment: zeros from `end` on
  wal::Lsn end;                  ///< of the last complete record
  // For the manifest:
  wal::Lsn first{};
  std::optional<wal::PgTime> commit{};
};
struct Publication {
  enum class What {
    stored,
    extended,    ///< a shorter padded one was there
    was_there,   ///< as long, or longer
    true_there,  ///< the finished segment, which has all of it
  };
  What what = What::stored;
  std::string object{};
  bool compared = true;  ///< false: the existing object is encrypted, and its content is unknown
  /// The object's manifest entry; nullopt: it is not ours.
  std::optional<ManifestEntry> entry{};
};
/// Destination and parameters.
struct PublishTo {
  ObjectStore& store;
  const Layout& layout;
  Conditions conditions;
  const archive::Identity& cluster;
  codec::Compression form;
  Sealing sealing{};
};
/// Checks the object under the segment's name, and stores the padded segment if there is none, or
/// a shorter one. `record` says when and how; `keep` gets it, completed, before anything is
/// stored, and then the store as well. Throws StoreError; Error{conflict} if there is different
/// WAL, Error{damage} if an object is invalid.
[[nodiscard]] Publication publish_open(
    const PublishTo& to, const PaddedSegment& padded, archive::PublishedOpen record,
    const std::function<void(const archive::PublishedOpen&)>& keep);

/// Adds the line of a published segment to the chain for these, unless it exists and, with a key,
/// is proved by it. `key` signs it. Returns false, and writes nothing, if the chains there are
/// signed and there is no key. Throws StoreError; Error{damage} if the chain cannot be continued.
[[nodiscard]] bool tell_published(ObjectStore& store, const Layout& layout,
                                  const ManifestEntry& entry, std::shared_ptr<const SignifyKey> key,
                                  const Patience& patience, Log& log);

}  // namespace weir::store
