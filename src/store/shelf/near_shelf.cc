// A store is another shelf (`store::NearShelf`). `restore` queries it like a second directory,
// after the others, with the same checks; its objects are not compared with the directories' files,
// since they were compared at upload. P9 is therefore kept as before: `Archives` takes each
// StoreError as an archive that does not answer, and reports no absence meanwhile. The store's own
// rule is to send few requests: names() of a NearShelf covers one file, not all names. If the store
// is known to have an object, it is not asked for it again, because objects are written once. Files
// that the helper has fetched are therefore used without a request, and without loading libcurl.

#include "store/shelf/near_shelf.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <functional>
#include <utility>

#include "archive/forms.h"
#include "archive/other_forms.h"
#include "base/error.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"
#include "store/cluster_record.h"
#include "store/ledger/manifest_reader.h"
#include "store/sealed/age_file.h"
#include "store/shelf/object_bytes.h"

namespace weir::store {

namespace {

/// Names listed around a file: a few suffice, and a page of a thousand takes time.
constexpr std::size_t kAround = 32;
/// Files up to this size are kept in memory whole; larger ones are read in pieces.
constexpr std::uint64_t kWhole = std::uint64_t{64} << 20;
constexpr std::uint64_t kLargestSmallFile = std::uint64_t{1} << 20;
constexpr std::size_t kMostFronts = 64;
constexpr std::size_t kDigits = 24;

/// A key before all that start with this one, and after all others before it.
std::string just_before(std::string key) {
  --key.back();
  return key + '~';
}

/// Shared memory.
class SharedBytes final : public io::Bytes {
 public:
  explicit SharedBytes(std::shared_ptr<const std::vector<std::byte>> content)
      : content_(std::move(content)) {}
  [[nodiscard]] std::uint64_t size() override { return content_->size(); }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    if (offset >= content_->size()) return 0;
    const auto rest = std::span(*content_).subspan(static_cast<std::size_t>(offset));
    const auto count = std::min(rest.size(), bytes.size());
    std::copy_n(rest.begin(), count, bytes.begin());
    return count;
  }

 private:
  std::shared_ptr<const std::vector<std::byte>> content_;
};

/// A file of which many readers only need the start; others get it whole.
class WholeLater final : public io::Bytes {
 public:
  using Read = std::function<std::unique_ptr<io::Bytes>()>;
  WholeLater(std::uint64_t size, Read front, Read whole)
      : size_(size), read_front_(std::move(front)), read_whole_(std::move(whole)) {}
  [[nodiscard]] std::uint64_t size() override { return size_; }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    const auto front = std::min(size_, ObjectBytes::kFirstPiece);
    if (!whole_ && offset + bytes.size() <= front) {
      if (!front_) front_ = read_front_();
      return front_->read_at(offset, bytes);
    }
    if (!whole_) whole_ = read_whole_();
    return whole_->read_at(offset, bytes);
  }

 private:
  const std::uint64_t size_;
  const Read read_front_;
  const Read read_whole_;
  std::unique_ptr<io::Bytes> front_;
  std::unique_ptr<io::Bytes> whole_;
};

std::optional<wal::SegmentName> segment_of(const std::string& name) {
  const auto file = archive::SegmentFileName::parse(name);
  return file && !file->partial ? std::optional(file->segment) : std::nullopt;
}

/// "N.zst.partial": the name of a partial segment.
std::optional<wal::SegmentName> open_segment_of(const std::string& name) {
  const auto file = archive::SegmentFileName::parse(name);
  return file && file->partial && file->method == codec::Method::zstd ? std::optional(file->segment)
                                                                      : std::nullopt;
}

/// The newest version. Archived files are written once, so that of several versions the oldest is
/// the archived one; a record is replaced when it changes.
std::optional<std::vector<std::byte>> read_newest(ObjectStore& store, const std::string& key,
                                                  const Patience& patience) {
  const auto text = insist(patience, [&] { return get_text(store, key, kLargestSmallFile); });
  if (!text) return std::nullopt;
  const auto bytes = std::as_bytes(std::span(*text));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

/// The preceding segment by its digits alone, as far as possible without the segment size.
std::optional<wal::SegmentName> digits_before(wal::SegmentName segment) {
  auto text = segment.to_string();
  for (std::size_t i = kDigits; i-- > wal::kTimelineDigits * 2;) {
    if (text[i] == '0') {
      text[i] = 'F';
      continue;
    }
    text[i] = text[i] == 'A' ? '9' : static_cast<char>(text[i] - 1);
    return wal::SegmentName::parse(text);
  }
  return std::nullopt;
}

}  // namespace

NearShelf::NearShelf(Open open, std::string path, const Layout& layout, const Patience& patience,
                     std::size_t ahead, Identities identities, std::vector<SignifyPublic> keys)
    : open_(std::move(open)),
      path_(std::move(path)),
      layout_(layout),
      patience_(patience),
      ahead_(ahead),
      identities_(std::move(identities)),
      keys_(std::move(keys)) {}

/// Size of the content. Only the header shows the overhead of an age file; for a raw segment the
/// size is known anyway, since it is a power of two, and encryption adds far less.
std::uint64_t NearShelf::Known::size() const {
  const auto name = object.key.substr(0, object.key.size() - (encrypted ? kAgeSuffix.size() : 0));
  const auto file = name.substr(name.rfind('/') + 1);
  return encrypted && segment_of(file) && file.size() == kDigits ? std::bit_floor(object.size)
                                                                 : object.size;
}

std::optional<std::string> NearShelf::name_of(const std::string& key) const {
  auto name = layout_.file_of(key);
  return name && layout_.key_of(*name) ? name : std::nullopt;
}

bool NearShelf::Listed::has(const std::string& key) const {
  return key.starts_with(prefix) && key > after && (!to || key <= *to);
}

ObjectStore& NearShelf::store() { return open_(); }

void NearShelf::look_around(wal::SegmentName segment) {
  const std::lock_guard lock(mutex_);
  around_ = segment;
  histories_only_ = false;
  surveyed_ = false;
}

void NearShelf::look_around_histories() {
  const std::lock_guard lock(mutex_);
  around_.reset();
  histories_only_ = true;
  surveyed_ = false;
}

void NearShelf::expect(wal::SegmentName segment) {
  const std::lock_guard lock(mutex_);
  expected_.insert(segment);
}

void NearShelf::release(wal::SegmentName segment) {
  const std::lock_guard lock(mutex_);
  expected_.erase(segment);
  std::erase_if(contents_, [&](const auto& each) {
    const auto name = name_of(each.first);
    return name && segment_of(*name) == segment;
  });
}

void NearShelf::read_whole_segments(std::size_t kept, Watch watch) {
  kept_whole_ = kept;
  watch_ = std::move(watch);
}

void NearShelf::hide_before(std::vector<wal::SegmentName> begins) {
  const std::lock_guard lock(mutex_);
  begins_ = std::move(begins);
}

void NearShelf::keep_recent(const std::string& key, const Content& content) {
  recent_.emplace_back(key, content);
  if (recent_.size() > kept_whole_) recent_.pop_front();
}

void NearShelf::forget_absences() {
  const std::lock_guard lock(mutex_);
  listed_.clear();
}

void NearShelf::look_again() {
  const std::lock_guard lock(mutex_);
  listed_.clear();
  surveyed_ = false;
}

bool NearShelf::is_claimed() {
  // (A listing around one file may lack the WAL long before it.)
  return insist(patience_, [&] {
    return read_cluster(store(), layout_) ||
           !store().list(layout_.wal_prefix(), "", 1).objects.empty();
  });
}

const archive::Listing& NearShelf::told() {
  {
    const std::lock_guard lock(mutex_);
    if (told_) return *told_;
  }
  archive::Listing listing;
  for (const auto& entry : read_last_lines(store(), layout_, keys_, patience_)) {
    auto name = std::string_view(entry.name);
    if (name.ends_with(kAgeSuffix)) name.remove_suffix(kAgeSuffix.size());
    if (const auto file = archive::SegmentFileName::parse(name); file && !file->partial)
      listing.segments.push_back({*file, std::nullopt});
    else if (const auto history = archive::parse_history_name(name))
      listing.histories.push_back(*history);
  }
  const std::lock_guard lock(mutex_);
  if (!told_) told_ = std::move(listing);
  return *told_;
}

std::vector<std::string> NearShelf::keys_of(const std::string& name) const {
  const auto key = layout_.key_of(name);
  if (!key) return {};
  std::vector<std::string> keys;
  const std::lock_guard lock(mutex_);
  for (auto& each : {*key, *key + std::string(kAgeSuffix)})
    if (there_.contains(each)) keys.push_back(each);
  return keys;
}

/// It was removed. Whether another form exists must be checked.
void NearShelf::forget(const std::string& key) {
  const std::lock_guard lock(mutex_);
  there_.erase(key);
  contents_.erase(key);
  fronts_.erase(key);
  std::erase_if(listed_, [&](const Listed& listed) { return listed.has(key); });
}

/// The last key, if more follow. Pages already read are not read again.
std::optional<std::string> NearShelf::read_page(const std::string& prefix, const std::string& after,
                                                std::size_t most) {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& listed : listed_)
      if (listed.prefix == prefix && listed.after == after) return listed.to;
  }
  const auto page = insist(patience_, [&] { return store().list(prefix, after, most); });
  const std::lock_guard lock(mutex_);
  for (const auto& object : page.objects) there_.insert_or_assign(object.key, object);
  std::optional<std::string> last;
  if (page.more) last = page.objects.back().key;
  listed_.push_back({prefix, after, last});
  return last;
}

void NearShelf::read_all(const std::string& prefix) {
  std::string after;
  for (auto last = read_page(prefix, after, kListingPage); last;
       last = read_page(prefix, after, kListingPage))
    after = *last;
}

bool NearShelf::sees_segment(const std::function<bool(wal::SegmentName)>& is_it) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(there_.begin(), there_.end(), [&](const auto& each) {
    const auto name = name_of(each.first);
    const auto segment = name ? segment_of(*name) : std::nullopt;
    return segment && is_it(*segment);
  });
}

/// Where to continue after `last`, skipping irrelevant keys; nullopt: nowhere.
std::optional<std::string> NearShelf::behind(const std::string& last) const {
  if (!last.starts_with(layout_.wal_prefix())) return std::nullopt;
  const auto name = layout_.file_of(last);
  const auto packed = name ? archive::parse_other_form(*name) : std::nullopt;
  const auto segment = packed ? packed->segment : name ? segment_of(*name) : std::nullopt;
  if (!segment) return last;
  const auto text = segment->to_string();
  if (around_) {
    // The place of the segment in question, on this timeline.
    const auto here = wal::SegmentName::parse(text.substr(0, wal::kTimelineDigits) +
                                              around_->to_string().substr(wal::kTimelineDigits));
    if (here)
      if (auto before = just_before(layout_.key(*here)); last < before) return before;
  }
  return layout_.wal_prefix() + text.substr(0, wal::kTimelineDigits) + "~";
}

/// From `after` up to the end of the archive, and the records.
void NearShelf::survey(std::string after) {
  for (;;) {
    const auto last = read_page(layout_.root(), after, kAround);
    if (!last) return;
    if (around_ && sees_segment([&](wal::SegmentName each) {
          return each.timeline() == around_->timeline() && *around_ < each;
        }) &&
        sees_segment([&](wal::SegmentName each) {
          return each.timeline() == around_->timeline() && each < *around_;
        }))
      return;  // it is missing, regardless of the rest
    const auto next = behind(*last);
    if (!next) break;
    after = *next;
  }
  read_all(layout_.records_prefix());
}

/// The start of a listing that includes the segment before this one.
std::string NearShelf::beginning_of(wal::SegmentName segment) const {
  return just_before(layout_.key(digits_before(segment).value_or(segment)));
}

void NearShelf::survey_around(wal::SegmentName segment) {
  const auto timeline = segment.timeline();
  survey(beginning_of(segment));
  const auto own_before = [&](wal::SegmentName each) {
    return each.timeline() == timeline && each < segment;
  };
  if (timeline > 1 && !sees_segment(own_before))
    static_cast<void>(read_page(layout_.history_key(timeline), "", kAround));
  // Whether there is WAL at all, and of which cluster.
  if (!sees_segment([](wal::SegmentName) { return true; }))
    static_cast<void>(read_page(layout_.wal_prefix(), "", kAround));
}

std::vector<io::DirectoryEntry> NearShelf::list() {
  bool look = false;
  std::optional<wal::SegmentName> around;
  bool histories_only = false;
  {
    const std::lock_guard lock(mutex_);
    look = !surveyed_;
    around = around_;
    histories_only = histories_only_;
  }
  if (look) {
    if (around)
      survey_around(*around);
    else if (histories_only)
      survey(layout_.wal_prefix());
    else
      for (const auto& prefix :
           {OpenObject::prefix(layout_), layout_.wal_prefix(), layout_.records_prefix()})
        read_all(prefix);
  }
  const std::lock_guard lock(mutex_);
  surveyed_ = true;
  std::vector<io::DirectoryEntry> entries;
  for (const auto& [key, object] : there_) {
    auto name = name_of(key);
    const bool readable = name.has_value();
    // Their segments are not absent.
    if (!readable) name = layout_.file_of(key);
    if (!readable && (!name || !archive::parse_other_form(*name))) continue;
    const bool encrypted = readable && key.ends_with(kAgeSuffix);
    if (encrypted && there_.contains(*layout_.key_of(*name))) continue;  // once is enough
    io::DirectoryEntry entry;
    entry.name = std::move(*name);
    entry.size = entry.allocated = Known{object, encrypted}.size();
    entry.modified = object.modified;
    entries.push_back(std::move(entry));
  }
  add_open_segments(entries);
  std::erase_if(entries, [this](const io::DirectoryEntry& entry) {
    const auto file = archive::SegmentFileName::parse(entry.name);
    return file && is_pruned(file->segment, begins_);
  });
  return entries;
}

/// `absent`: it is known not to exist, nor encrypted.
std::optional<NearShelf::Known> NearShelf::known(const std::string& key, bool& absent) const {
  const std::lock_guard lock(mutex_);
  absent = false;
  if (const auto found = there_.find(key); found != there_.end()) return Known{found->second};
  const auto encrypted = key + std::string(kAgeSuffix);
  if (const auto found = there_.find(encrypted); found != there_.end())
    return Known{found->second, true};
  const auto listed = [&](const std::string& each) {
    return std::any_of(listed_.begin(), listed_.end(),
                       [&](const Listed& part) { return part.has(each); });
  };
  absent = listed(key) && listed(encrypted);
  return std::nullopt;
}

/// Asks the store if it is unknown.
std::optional<NearShelf::Known> NearShelf::look_for(const std::string& name,
                                                    const std::string& key) {
  bool absent = false;
  auto object = known(key, absent);
  if (object || absent) return object;
  // All forms at once: their names have a common prefix.
  const auto segment = segment_of(name);
  const auto history = archive::parse_history_name(name);
  std::optional<wal::SegmentName> around;
  {
    const std::lock_guard lock(mutex_);
    around = around_;
  }
  if (segment && segment == around)
    // The page that shows, if it does not exist, whether it should.
    static_cast<void>(read_page(layout_.root(), beginning_of(*segment), kAround));
  else if (segment && ahead_ > 1)
    static_cast<void>(read_page(layout_.wal_prefix(), just_before(layout_.key(*segment)), ahead_));
  else if (segment)
    static_cast<void>(read_page(layout_.key(*segment), "", kAround));
  else
    static_cast<void>(
        read_page(history ? layout_.history_key(history->timeline) : key, "", kAround));
  return known(key, absent);
}

std::optional<io::DirectoryEntry> NearShelf::find(const std::string& name) {
  const auto found = resolve(name);
  if (!found) return std::nullopt;
  io::DirectoryEntry entry;
  entry.name = name;
  entry.size = entry.allocated = found->size();
  entry.modified = found->object.modified;
  return entry;
}

/// Returns nullopt if there is no line.
std::optional<bool> NearShelf::is_proved(const std::string& object, const std::string& sha256) {
  const std::lock_guard lock(mutex_);
  if (!proofs_) return std::nullopt;
  const auto [from, to] = proofs_->equal_range(object);
  if (from == to) return std::nullopt;
  return std::any_of(from, to, [&](const auto& each) { return each.second == sha256; });
}

void NearShelf::require_proved(const std::string& key, std::span<const std::byte> bytes) {
  if (keys_.empty() || !key.starts_with(layout_.wal_prefix())) return;
  const auto object = key.substr(key.rfind('/') + 1);
  const auto sha256 = crypto::to_hex(crypto::sha256(bytes));
  auto proved = is_proved(object, sha256);
  if (!proved) {
    // Its line may be newer than the cached ones.
    std::multimap<std::string, std::string> proofs;
    const auto chains = read_manifests(store(), layout_, keys_, patience_);
    for (const auto& [name, lines] : told_objects(chains, true))
      for (const auto* const line : lines)
        // The digest of an object that was only seen comes from its own metadata.
        if (line->kind != ManifestEntry::Kind::seen) proofs.emplace(name, line->sha256);
    {
      const std::lock_guard lock(mutex_);
      proofs_ = std::move(proofs);
    }
    proved = is_proved(object, sha256);
  }
  if (!proved)
    throw Error(ErrorKind::retry,
                "the object is not listed in a manifest that the public key proves")
        .with("object", store().name_of(key))
        .hint(
            "The archiver lists it immediately after storing it. If it remains unlisted, another "
            "program stored it, or it is older than the manifest: run \"pgweir verify --store "
            "--manifest-public-key\". Without the key it would be restored.");
  if (!*proved)
    throw Error(ErrorKind::damage, "the object does not match the manifest")
        .with("object", store().name_of(key))
        .with("SHA-256", sha256)
        .hint(
            "The object was changed. Use the file from another archive or a server's pg_wal, or "
            "recover up to the LSN before it.");
}

NearShelf::Content NearShelf::content_of(const std::string& name, const Known& known, bool keep) {
  const auto& key = known.object.key;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = contents_.find(key); found != contents_.end()) return found->second;
    for (const auto& [each, content] : recent_)
      if (each == key) return content;
  }
  auto bytes = key.starts_with(layout_.records_prefix())
                   ? read_newest(store(), key, patience_)
                   : read_whole(store(), key, keys_.empty() ? kWhole : kLargestFile, patience_);
  if (!bytes) {
    forget(key);
    throw system_error(ENOENT, "an object is gone from the store").with("object", path_of(name));
  }
  require_proved(key, *bytes);
  if (watch_) watch_(key, crypto::to_hex(crypto::sha256(*bytes)));
  auto content = std::make_shared<const std::vector<std::byte>>(std::move(*bytes));
  if (known.encrypted) {
    AgeOpened opened(std::make_unique<SharedBytes>(content), identities_, store().name_of(key));
    std::vector<std::byte> plain(static_cast<std::size_t>(opened.size()));
    plain.resize(opened.read_at(0, plain));
    content = std::make_shared<const std::vector<std::byte>>(std::move(plain));
  }
  const std::lock_guard lock(mutex_);
  if (keep)
    contents_.insert_or_assign(key, content);
  else if (kept_whole_ > 0)
    keep_recent(key, content);
  return content;
}

std::unique_ptr<io::Bytes> NearShelf::open_bytes(const std::string& name) {
  if (const auto segment = open_segment_of(name)) return open_open_segment(*segment);
  const auto plain_key = layout_.key_of(name);
  const auto found = plain_key ? look_for(name, *plain_key) : std::nullopt;
  if (!found) return nullptr;
  const auto& key = found->object.key;
  const auto size = found->object.size;
  // Verified by its hash, so it is read as a whole.
  if (!keys_.empty() && key.starts_with(layout_.wal_prefix()))
    return std::make_unique<SharedBytes>(content_of(name, *found, true));
  const auto segment = segment_of(name);
  bool expected = !segment;
  std::vector<std::byte> front;
  {
    const std::lock_guard lock(mutex_);
    if (segment) expected = expected_.contains(*segment) || around_ == segment;
    if (const auto read = fronts_.find(key); read != fronts_.end()) front = read->second;
  }
  if (expected && size <= (segment ? kWhole : kLargestSmallFile))
    return std::make_unique<SharedBytes>(content_of(name, *found, true));
  if (segment && kept_whole_ > 0 && size <= kWhole) {
    const auto whole = [this, name, known = *found] {
      return std::make_unique<SharedBytes>(content_of(name, known, false));
    };
    const auto has_older = [this, key] {
      return !insist(patience_, [&] { return oldest_version(store(), key); }).empty();
    };
    const auto* const versions = store().versions();
    const bool asked = versions != nullptr && versions->are_kept();
    // The size of encrypted content is unknown before it is opened, and so is that of an older
    // version.
    if (found->encrypted || has_older()) return whole();
    const auto read_front = [this, key, size, front, whole, has_older,
                             asked]() -> std::unique_ptr<io::Bytes> {
      auto bytes = front.empty()
                       ? read_part(store(), {key, size, ""},
                                   {0, std::min(size, ObjectBytes::kFirstPiece)}, patience_)
                       : front;
      // The answer has shown whether there may be other versions.
      if (!asked && has_older()) return whole();
      return std::make_unique<SharedBytes>(
          std::make_shared<const std::vector<std::byte>>(std::move(bytes)));
    };
    return std::make_unique<WholeLater>(size, read_front, whole);
  }
  ObjectBytes::Which which{key, size, ""};
  if (front.empty() && size > 0) {
    front = read_part(store(), which, {0, std::min(size, ObjectBytes::kFirstPiece)}, patience_);
    // The answer has shown whether there may be other versions.
    if (!insist(patience_, [&] { return oldest_version(store(), key); }).empty()) {
      if (size <= kWhole) return std::make_unique<SharedBytes>(content_of(name, *found, false));
      auto oldest = find_object(store(), key, patience_);
      if (!oldest) return nullptr;
      which = std::move(*oldest);
      front.clear();
    }
    const std::lock_guard lock(mutex_);
    if (fronts_.size() >= kMostFronts) fronts_.clear();
    if (!front.empty()) fronts_.insert_or_assign(key, front);
  }
  auto bytes =
      std::make_unique<ObjectBytes>(store(), std::move(which), patience_, std::move(front));
  if (!found->encrypted) return bytes;
  return std::make_unique<AgeOpened>(std::move(bytes), identities_, store().name_of(key));
}

std::optional<io::FileIdentity> NearShelf::of(const std::string& name) {
  const auto found = resolve(name);
  if (!found) return std::nullopt;
  // No device has this number, so it is never mistaken for a file's.
  constexpr std::uint64_t kNoDevice = ~std::uint64_t{0};
  const auto& object = found->object;
  return io::FileIdentity{.device = kNoDevice,
                          .inode = std::hash<std::string>()(object.key + '\n' + object.etag),
                          .size = object.size};
}

}  // namespace weir::store
