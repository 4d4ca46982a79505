// A current segment is many objects and one file: objects are written once, so each upload has its
// own name; readers see `N.zst.partial` (`NearShelf`), and use it as in a directory. It sorts
// before all WAL in the order of keys, so a search for complete segments does not list it.

#include "store/send/open_segment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "archive/listing.h"
#include "codec/codec.h"
#include "store/digests.h"
#include "store/listing.h"
#include "store/memory_bytes.h"
#include "store/sealed/age_file.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::store {

namespace {

constexpr std::size_t kPiece = 256 * 1024;
/// It is sent repeatedly: speed matters more than size.
constexpr codec::Compression kCompression{codec::Method::zstd, 1};

}  // namespace

bool OpenSegment::has_more(const archive::DurableEnd& durable, wal::SegmentSize size) const {
  // (No record starts in the first page's header, and without it the WAL's cluster is unknown.)
  if (size.offset(durable.flush) <= wal::kLongHeaderSize) return false;
  const wal::SegmentName segment(durable.timeline, size.segno(durable.flush), size);
  return !newest_ || newest_->segment != segment || newest_->end < durable.flush;
}

std::optional<OpenSegment::Sent> OpenSegment::send(const archive::DurableEnd& durable,
                                                   const archive::Identity& cluster,
                                                   const archive::Timelines& timelines) {
  const auto& size = cluster.segment_size;
  if (!has_more(durable, size)) return std::nullopt;
  const auto length = size.offset(durable.flush);
  const wal::SegmentName segment(durable.timeline, size.segno(durable.flush), size);
  const auto file =
      archive_.open_bytes(archive::SegmentFileName{segment, codec::Method::none, true}.to_string());
  if (!file) return std::nullopt;  // completed meanwhile

  const auto history = timelines.history(segment.timeline());
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = segment.timeline(),
                                .system_identifier = cluster.system_identifier,
                                .history = history ? &*history : nullptr},
                               segment.start(size));
  std::vector<std::byte> packed;
  const auto take = [&](std::span<const std::byte> bytes) {
    packed.insert(packed.end(), bytes.begin(), bytes.end());
  };
  const auto compressor = codec::make_compressor(kCompression, length);
  std::vector<std::byte> buffer(kPiece);
  for (std::uint64_t offset = 0; offset < length;) {
    const auto wanted = std::min<std::uint64_t>(buffer.size(), length - offset);
    const auto piece = std::span(buffer).first(
        file->read_at(offset, std::span(buffer).first(static_cast<std::size_t>(wanted))));
    if (piece.empty())
      throw Error(ErrorKind::io, "the partial segment is shorter than its flushed WAL")
          .with("segment", segment)
          .with("bytes", offset);
    if (const auto damage = verifier.feed(piece))
      throw Error(ErrorKind::damage, "the partial segment is damaged: " + damage->what)
          .with("segment", segment)
          .with("at", damage->at)
          .hint("It is not sent. Run \"pgweir verify\" for details.");
    compressor->feed(piece, take);
    offset += piece.size();
  }
  compressor->finish(take);

  OpenObject object{.segment = segment,
                    .end = durable.flush,
                    .id = fmt::format("{:016x}-{}", id_, ++count_),
                    .encrypted = !sealing_.recipients.empty()};
  std::unique_ptr<AgeSealed> sealed;
  MemoryBytes plain(packed);
  io::Bytes* sent = &plain;
  if (object.encrypted) {
    sealed = std::make_unique<AgeSealed>(plain, sealing_.recipients);
    sent = sealed.get();
  }
  auto content = content_of(*sent);
  content.metadata = {{"pgweir-system-id", std::to_string(cluster.system_identifier)},
                      {"pgweir-segment-size", std::to_string(size.bytes())},
                      {"pgweir-sha256", content.sha256}};
  const auto key = object.key(layout_);
  left_.insert(segment);
  try {
    store_.put(key, content);
  } catch (...) {
    outdated_.push_back(key);
    throw;
  }
  // That of another segment stays until the complete segment counts as sent: it may be the store's
  // only copy of WAL that was confirmed because of it.
  if (newest_ && newest_->segment == segment) outdated_.push_back(newest_->key(layout_));
  newest_ = std::move(object);
  return Sent{segment, durable.flush, sent->size()};
}

std::string OpenSegment::tidy_up(const Mark& mark) {
  if (newest_ && mark.has(newest_->segment)) newest_.reset();
  if (std::any_of(left_.begin(), left_.end(), [&](const auto& each) { return mark.has(each); })) {
    looks_ = true;
    left_.clear();
  }
  if (looks_) {
    // Including other archivers' objects: the whole segment is stored.
    for_each_object(store_, OpenObject::prefix(layout_), kOnce, [&](const ObjectEntry& each) {
      const auto object = OpenObject::parse(layout_, each.key);
      if (!object) return;
      if (mark.has(object->segment))
        outdated_.push_back(each.key);
      else
        left_.insert(object->segment);
    });
    looks_ = false;
  }
  auto& keys = outdated_;  // unanswered removals are repeated the next time
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  std::string kept;
  for (std::size_t from = 0; from < keys.size(); from += kListingPage) {
    const auto some = std::span(keys).subspan(from, std::min(kListingPage, keys.size() - from));
    for (const auto& each : store_.remove(some)) kept = store_.name_of(each.key) + ": " + each.why;
  }
  keys.clear();
  return !kept.empty() && !std::exchange(told_kept_, true) ? kept : "";
}

}  // namespace weir::store
