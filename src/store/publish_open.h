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
#include "store/manifest_line.h"
#include "store/object_store.h"
#include "store/sealing.h"
#include "store/signify.h"
#include "store/write_once.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::store {

// For readers that know whole segments only: what is durable of the segment behind the last
// finished one, under its final name, zeros behind its last record. On the timeline of a server
// that is dead for good nothing else will ever come under that name.

/// The segment that an archive holds unfinished behind everything finished: of its newest timeline.
/// nullopt: there is none.
[[nodiscard]] std::optional<wal::SegmentName> open_segment(const archive::Listing& listing,
                                                           wal::SegmentSize size);

/// Throws Error{retry} if the store lacks what lies right before the segment, or the history of its
/// timeline: what is published would be behind a hole. `first`: the archive has nothing before it.
void require_what_is_before(ObjectStore& store, const Layout& layout, wal::SegmentName segment,
                            wal::SegmentSize size, const archive::Timelines& timelines, bool first);

struct PaddedSegment {
  wal::SegmentName segment;
  std::vector<std::byte> wal{};  ///< a whole segment: zeros from `end` on
  wal::Lsn end;                  ///< of the last complete record
  // Of the records in it, for the manifest.
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
  bool compared = true;  ///< false: what was there is encrypted, and its content is not known
  /// What a manifest tells of the object; nullopt: it is none of ours to tell of.
  std::optional<ManifestEntry> entry{};
};
/// Where it goes, and how.
struct PublishTo {
  ObjectStore& store;
  const Layout& layout;
  Conditions conditions;
  const archive::Identity& cluster;
  codec::Compression form;
  Sealing sealing{};
};
/// Looks what is under the segment's name, and stores the padded one where there is none, or a
/// shorter one. `record` says when and how; completed, `keep` gets it before anything is stored,
/// and the store as well. Throws StoreError; Error{conflict} if other WAL is there, Error{damage}
/// for what cannot be read.
[[nodiscard]] Publication publish_open(
    const PublishTo& to, const PaddedSegment& padded, archive::PublishedOpen record,
    const std::function<void(const archive::PublishedOpen&)>& keep);

/// Writes the line of a published segment into a chain for such, unless it is there. `key`: what
/// signs it. False: chains there are signed, and there is no key: so nothing was written. Throws
/// StoreError; Error{damage} for a chain that cannot be gone on with.
[[nodiscard]] bool tell_published(ObjectStore& store, const Layout& layout,
                                  const ManifestEntry& entry, std::shared_ptr<const SignifyKey> key,
                                  const Patience& patience, Log& log);

}  // namespace weir::store
