#include <algorithm>
#include <span>
#include <utility>

#include "archive/listing.h"
#include "base/error.h"
#include "codec/codec.h"
#include "store/memory_bytes.h"
#include "store/sealed/age_file.h"
#include "store/shelf/near_shelf.h"
#include "store/shelf/object_bytes.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

// Methods of NearShelf for partial segments.

namespace weir::store {

namespace {

std::string name_in_archive(wal::SegmentName segment) {
  return archive::SegmentFileName{segment, codec::Method::zstd, true}.to_string();
}

/// Bytes that are owned.
class OwnBytes final : public io::Bytes {
 public:
  explicit OwnBytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)), view_(bytes_) {}
  [[nodiscard]] std::uint64_t size() override { return view_.size(); }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    return view_.read_at(offset, bytes);
  }

 private:
  const std::vector<std::byte> bytes_;
  MemoryBytes view_;
};

/// The WAL of an object, if it is complete up to the position in its name, and every record is
/// valid.
std::optional<std::vector<std::byte>> unpack(const OpenObject& object,
                                             std::span<const std::byte> packed) {
  std::vector<std::byte> wal;
  try {
    const auto unpacker = codec::make_decompressor(codec::Method::zstd);
    unpacker->feed(packed, [&](std::span<const std::byte> piece) {
      wal.insert(wal.end(), piece.begin(), piece.end());
      return wal.size() <= kLargestFile;
    });
    unpacker->finish();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    return std::nullopt;
  }
  const auto header = wal::decode_page_header(wal);
  const auto size =
      header && header->long_header ? wal::SegmentSize::of(header->segment_size) : std::nullopt;
  if (!size || !object.segment.fits(*size)) return std::nullopt;
  const auto start = object.segment.start(*size);
  if (object.end < start || object.end - start != wal.size()) return std::nullopt;
  wal::RecordVerifier verifier({.segment_size = *size,
                                .timeline = object.segment.timeline(),
                                .system_identifier = header->system_identifier},
                               start);
  if (verifier.feed(wal)) return std::nullopt;
  return wal;
}

}  // namespace

/// The object with this name in an archive; for a partial segment, the one that extends furthest.
std::optional<NearShelf::Known> NearShelf::resolve(const std::string& name) {
  const auto file = archive::SegmentFileName::parse(name);
  if (file && file->partial) {
    if (file->method != codec::Method::zstd) return std::nullopt;
    const auto objects = open_objects(file->segment);
    if (objects.empty()) return std::nullopt;
    const std::lock_guard lock(mutex_);
    const auto& best = objects.front();
    return Known{there_.at(best.key(layout_)), best.encrypted};
  }
  const auto key = layout_.key_of(name);
  return key ? look_for(name, *key) : std::nullopt;
}

/// None with a key, which proves none of them: manifests do not list partial segments.
std::vector<OpenObject> NearShelf::open_objects(wal::SegmentName segment) {
  return keys_.empty() ? all_open_objects(segment) : std::vector<OpenObject>();
}

bool NearShelf::has_unproved(wal::SegmentName segment) {
  return !keys_.empty() && !all_open_objects(segment).empty();
}

/// The one that extends furthest first.
std::vector<OpenObject> NearShelf::all_open_objects(wal::SegmentName segment) {
  const auto prefix = OpenObject::prefix(layout_, segment);
  bool listed = false;
  {
    const std::lock_guard lock(mutex_);
    listed = std::any_of(listed_.begin(), listed_.end(), [&](const Listed& part) {
      return part.after.empty() && !part.to &&
             (part.prefix == prefix || part.prefix == OpenObject::prefix(layout_));
    });
  }
  if (!listed) read_all(prefix);
  std::vector<OpenObject> objects;
  const std::lock_guard lock(mutex_);
  for (auto each = there_.lower_bound(prefix); each != there_.end(); ++each) {
    if (!each->first.starts_with(prefix)) break;
    if (auto object = OpenObject::parse(layout_, each->first))
      objects.push_back(std::move(*object));
  }
  std::sort(objects.begin(), objects.end(),
            [](const OpenObject& one, const OpenObject& other) { return other.end < one.end; });
  return objects;
}

/// Returns nullopt if it is gone, and nothing if it is invalid.
std::optional<std::vector<std::byte>> NearShelf::sound_content(const OpenObject& object) {
  const auto key = object.key(layout_);
  auto packed = read_whole(store(), key, kLargestFile, patience_);
  if (!packed) return std::nullopt;
  if (object.encrypted) {
    try {
      AgeOpened opened(std::make_unique<OwnBytes>(std::move(*packed)), identities_,
                       store().name_of(key));
      std::vector<std::byte> plain(static_cast<std::size_t>(opened.size()));
      plain.resize(opened.read_at(0, plain));
      packed = std::move(plain);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      return std::vector<std::byte>();
    }
  }
  return unpack(object, *packed).value_or(std::vector<std::byte>());
}

/// If two archivers' objects are not of the same history, or a damaged one extends further than all
/// others, manual intervention is required.
std::optional<OpenObject> NearShelf::soundest(const std::vector<OpenObject>& objects) {
  std::optional<OpenObject> best;
  std::optional<OpenObject> damaged;
  std::vector<std::byte> content;
  for (const auto& object : objects) {
    auto other = sound_content(object);
    if (!other) continue;
    if (other->empty()) {
      if (!damaged) damaged = object;
      continue;
    }
    if (!best) {
      best = object;
      content = std::move(*other);
      continue;
    }
    if (std::equal(other->begin(), other->end(), content.begin())) continue;
    throw Error(ErrorKind::conflict, "two objects of a partial segment contain different WAL")
        .with("object", store().name_of(best->key(layout_)))
        .with("other object", store().name_of(object.key(layout_)))
        .hint(
            "Two clusters, or two branches of one, are sent to the same prefix. Find out which "
            "one is right, and remove the other one's object.");
  }
  if (best && damaged && damaged->end > best->end)
    throw Error(ErrorKind::damage, "the longest object of a partial segment is damaged")
        .with("object", store().name_of(damaged->key(layout_)))
        .with("valid object", store().name_of(best->key(layout_)))
        .with("valid up to", best->end)
        .hint(
            "The WAL after the valid object would be lost. If no other archive has that WAL, "
            "remove the damaged object.");
  return best;
}

/// An object may be removed during this: then there is a newer one, or the whole segment.
std::unique_ptr<io::Bytes> NearShelf::open_open_segment(wal::SegmentName segment) {
  const auto objects = open_objects(segment);
  if (objects.empty()) return nullptr;
  // A single one is read as it is, and its errors are reported.
  auto chosen = std::optional(objects.front());
  if (objects.size() > 1)
    if (auto best = soundest(objects)) chosen = std::move(best);
  const auto key = chosen->key(layout_);
  auto packed = read_whole(store(), key, kLargestFile, patience_);
  if (!packed) {
    const std::lock_guard lock(mutex_);
    there_.erase(key);
    std::erase_if(listed_, [&](const Listed& part) { return part.has(key); });
    return nullptr;
  }
  auto bytes = std::make_unique<OwnBytes>(std::move(*packed));
  if (!chosen->encrypted) return bytes;
  return std::make_unique<AgeOpened>(std::move(bytes), identities_, store().name_of(key));
}

/// Under the lock. Only for segments that have no complete form.
void NearShelf::add_open_segments(std::vector<io::DirectoryEntry>& entries) const {
  if (!keys_.empty()) return;  // see open_objects()
  std::map<wal::SegmentName, const ObjectEntry*> furthest;
  const auto prefix = OpenObject::prefix(layout_);
  for (auto each = there_.lower_bound(prefix); each != there_.end(); ++each) {
    if (!each->first.starts_with(prefix)) break;
    // In the order of positions.
    if (const auto object = OpenObject::parse(layout_, each->first))
      furthest[object->segment] = &each->second;
  }
  for (const auto& entry : entries)
    if (const auto file = archive::SegmentFileName::parse(entry.name))
      furthest.erase(file->segment);
  for (const auto& [segment, object] : furthest) {
    io::DirectoryEntry entry;
    entry.name = name_in_archive(segment);
    entry.size = entry.allocated = object->size;
    entry.modified = object->modified;
    entries.push_back(std::move(entry));
  }
}

}  // namespace weir::store
