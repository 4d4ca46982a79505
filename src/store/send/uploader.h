#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "codec/codec.h"
#include "io/shelf.h"
#include "store/layout.h"
#include "store/ledger/manifest_line.h"
#include "store/object_store.h"
#include "store/sealed/age_file.h"
#include "store/sealed/sealing.h"
#include "store/write_once.h"

namespace weir::store {

/// Uploads one file of an archive. Existing objects are kept: the same content is accepted,
/// regardless of writer and compression; different content is a conflict. A segment is read and
/// verified first, since a damaged one would stay in the store forever; if the compression method
/// of the store differs from that of the file, it is in memory until it is uploaded. Does not
/// own its arguments. Any thread.
class Uploader {
 public:
  struct Where {
    io::Shelf& archive;
    ObjectStore& store;
    const Layout& layout;
    Sealing sealing{};
    std::optional<codec::Compression> compression{};  ///< of the objects; nullopt: as the file
  };
  Uploader(const Where& where, Conditions conditions, const archive::Identity& cluster,
           const archive::Timelines& timelines)
      : where_(where), conditions_(conditions), cluster_(cluster), timelines_(timelines) {}

  struct Result {
    enum class What {
      stored,
      was_there,
      gone,  ///< no longer in the archive
    };
    What what = What::stored;
    std::uint64_t bytes = 0;  ///< uploaded
    /// False: the object is encrypted, or the version that readers use must not be read.
    bool compared = true;
    std::optional<ManifestEntry> entry{};  ///< of the object; nullopt: it is gone
  };
  /// `there`: known forms of the segment in the store. Throws StoreError; Error{conflict} that
  /// names both; Error{damage} for a file that must not be sent; Error{io}.
  [[nodiscard]] Result segment(wal::SegmentName segment,
                               const std::vector<archive::SegmentFileName>& there) const;
  /// Likewise.
  [[nodiscard]] Result history(wal::TimelineId timeline) const;

 private:
  struct Checked {
    std::uint64_t records_end = 0;          ///< offset; bytes after it have no meaning
    archive::SegmentFileName sent_as;       ///< the object's name, unless it is encrypted
    std::vector<std::byte> packed{};        ///< the content to send, if not the file itself
    std::unique_ptr<io::Bytes> repacked{};  ///< these bytes, likewise
    Content content{};
    std::unique_ptr<AgeSealed> sealed{};  ///< what `content` reads, if it is encrypted
    std::string digest{};                 ///< of the WAL up to records_end, if it is encrypted
    std::string hmac{};                   ///< by it; empty: there is no key
    /// The manifest line's information about the WAL itself.
    ManifestEntry wal{};
  };
  struct Found;
  [[nodiscard]] Checked check(const archive::SegmentFileName& file, io::Bytes& bytes) const;
  enum class Same {
    yes,
    gone,  ///< there is no such object (any more)
    unknown,
    padded,  ///< the same as far as it goes: a padded segment (padded.h)
  };
  [[nodiscard]] Found is_same(const archive::SegmentFileName& ours, const Checked& checked,
                              const archive::SegmentFileName& theirs) const;

  /// Its object is a padded segment, which is not the whole one.
  [[nodiscard]] bool is_padded(const archive::SegmentFileName& theirs) const;
  [[nodiscard]] Found compare_sealed(const archive::SegmentFileName& ours, const Checked& checked,
                                     const std::string& key) const;
  [[nodiscard]] bool padded_is_ours(const archive::SegmentFileName& ours, std::uint64_t bytes,
                                    const Metadata& told) const;
  void require_unpacks_to(const archive::SegmentFileName& file, const Checked& checked,
                          const std::string& sha256) const;
  [[nodiscard]] std::string digest_of_wal(const archive::SegmentFileName& file, io::Bytes& bytes,
                                          std::uint64_t records_end) const;
  [[nodiscard]] Error conflict(const archive::SegmentFileName& ours, const std::string& key,
                               const ObjectHead& head, const std::string& how) const;

  const Where where_;
  const Conditions conditions_;
  const archive::Identity& cluster_;
  const archive::Timelines& timelines_;
};

}  // namespace weir::store
