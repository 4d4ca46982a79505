#include "sim_store.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "archive/content.h"
#include "codec/codec.h"
#include "crypto/digest.h"
#include "fiber.h"
#include "store/ledger/manifest_chain.h"
#include "store/memory_bytes.h"
#include "store/shelf/open_object.h"

namespace weir::sim {

using namespace std::chrono_literals;
using store::StoreError;
using store::Trouble;

namespace {

/// So long somebody waits for an answer that does not come.
constexpr auto kPatience = 30s;

std::string md5_of(std::span<const std::byte> bytes) {
  crypto::Digest md5(crypto::Digest::Kind::md5);
  md5.add(bytes);
  return crypto::to_hex(md5.finish());
}

}  // namespace

SimStore::SimStore(const Lineage& lineage, Scheduler& scheduler, Random& random, Story& story)
    : lineage_(lineage),
      scheduler_(scheduler),
      random_(random),
      story_(story),
      layout_(store::Layout::Form::barman, {"simulated", ""}, kName),
      conditions_(random.one_in(6)   ? Conditions::ignored
                  : random.one_in(6) ? Conditions::refused
                                     : Conditions::heeded) {}

void SimStore::tick(bool quiet) {
  quiet_ = quiet;
  std::erase_if(late_, [&](Late& late) {
    if (!quiet && (story_.now < late.not_before || !random_.one_in(20))) return false;
    do_late(late);
    return true;
  });
  if (quiet) return;
  if (story_.now >= away_until_ && random_.one_in(150)) {
    away_until_ = story_.now + std::chrono::milliseconds(random_.any_size(14'400'000));
    story_.tell("the store is away for {} s", (away_until_ - story_.now) / 1s);
  }
  if (random_.one_in(250)) lose_one();
}

void SimStore::do_late(Late& late) {
  story_.tell("the store does what it was asked long ago: PUT {}", late.key);
  const auto there = objects_.find(late.key);
  if (conditions_ != Conditions::heeded && is_manifest(late.key) && there != objects_.end() &&
      *there->second.bytes != *late.object.bytes)
    manifest_came_late_ = true;
  static_cast<void>(place(late.key, std::move(late.object), late.condition));
  if (const auto file = segment_of(late.key); file && count(file->segment) > 1)
    twice_.insert(file->segment);
}

/// P19, where conditions are heeded: no object of a manifest is followed by one that has less of
/// its lines.
void SimStore::note_rollback(const std::string& key, const Object& there, const Object& object) {
  const auto& newer = *there.bytes;
  const auto& older = *object.bytes;
  if (conditions_ == Conditions::heeded && is_manifest(key) && older.size() < newer.size() &&
      std::equal(older.begin(), older.end(), newer.begin()))
    complaint_ = Violation{"P19", fmt::format("an older {} is put over a newer one", key)};
}

bool SimStore::is_manifest(const std::string& key) const {
  return store::parse_manifest_key(layout_, key).has_value();
}

void SimStore::spoil(const std::string& key, std::span<const std::byte> bytes) {
  auto& object = objects_.at(key);
  object.bytes = std::make_shared<const Bytes>(bytes.begin(), bytes.end());
  object.etag = md5_of(bytes);
  object.right.reset();
}

void SimStore::make_good() {
  away_until_ = {};
  quiet_ = true;
  for (auto each = objects_.begin(); each != objects_.end();) {
    if (!segment_of(each->first) || right(each->first, each->second)) {
      ++each;
      continue;
    }
    story_.tell("somebody removes {}, which is another branch's", each->first);
    each = objects_.erase(each);
  }
}

void SimStore::lose_one() {
  if (objects_.empty()) return;
  const auto chosen =
      std::next(objects_.begin(), static_cast<std::ptrdiff_t>(random_.below(objects_.size())));
  const auto file = segment_of(chosen->first);
  if (!file) return;
  story_.tell("the store loses {}", chosen->first);
  const bool was_right = right(chosen->first, chosen->second);
  objects_.erase(chosen);
  has_been_losing_ = true;
  if (was_right && count(file->segment) == 0) lost_.insert(file->segment);
}

std::optional<archive::SegmentFileName> SimStore::segment_of(const std::string& key) const {
  const auto name = layout_.file_of(key);
  const auto file = name ? archive::SegmentFileName::parse(*name) : std::nullopt;
  return file && !file->partial ? file : std::nullopt;
}

bool SimStore::right(const std::string& key, Object& object) const {
  if (object.right) return *object.right;
  const auto file = segment_of(key);
  const auto start = file->segment.start(kSegment);
  const auto end = start + kSegmentBytes;
  Bytes raw;
  try {
    store::MemoryBytes bytes(*object.bytes);
    archive::read_content(bytes, file->method, key, [&](std::span<const std::byte> piece) {
      raw.insert(raw.end(), piece.begin(), piece.end());
      return raw.size() <= kSegmentBytes;
    });
  } catch (const Error&) {
    raw.clear();
  }
  object.right =
      file->segment.timeline() <= lineage_.newest() &&
      end <= lineage_.end(file->segment.timeline()) && raw.size() == kSegmentBytes &&
      std::memcmp(raw.data(), lineage_.bytes(file->segment.timeline(), start, end).data(),
                  raw.size()) == 0;
  return *object.right;
}

bool SimStore::has(wal::SegmentName segment) {
  const auto first = objects_.lower_bound(layout_.key(segment));
  for (auto each = first; each != objects_.end() && each->first.starts_with(layout_.key(segment));
       ++each)
    if (segment_of(each->first) && right(each->first, each->second)) return true;
  return false;
}

bool SimStore::has_beginning(wal::SegmentName segment, wal::Lsn end) const {
  const auto prefix = store::OpenObject::prefix(layout_, segment);
  const auto start = segment.start(kSegment);
  for (auto each = objects_.lower_bound(prefix);
       each != objects_.end() && each->first.starts_with(prefix); ++each) {
    const auto open = store::OpenObject::parse(layout_, each->first);
    if (!open || open->segment != segment || open->end < end) continue;
    Bytes raw;
    store::MemoryBytes bytes(*each->second.bytes);
    archive::read_content(bytes, codec::Method::zstd, each->first, [&](const auto& piece) {
      raw.insert(raw.end(), piece.begin(), piece.end());
      return raw.size() <= kSegmentBytes;
    });
    const auto truth = lineage_.bytes(segment.timeline(), start, end);
    if (raw.size() == open->end - start && std::equal(truth.begin(), truth.end(), raw.begin()))
      return true;
  }
  return false;
}

std::size_t SimStore::count(wal::SegmentName segment) const {
  std::size_t count = 0;
  for (auto each = objects_.lower_bound(layout_.key(segment));
       each != objects_.end() && each->first.starts_with(layout_.key(segment)); ++each)
    if (segment_of(each->first)) ++count;
  return count;
}

/// By name or by position, as Audit has it (by position: seed 585721 of 0dbd19d6).
bool SimStore::seems_pruned(wal::SegmentName segment) const {
  if (!has_lost(segment)) return false;
  std::optional<wal::SegmentName> first;
  for (const auto& each : objects_) {
    const auto file = segment_of(each.first);
    if (file && !file->partial && (!first || file->segment < *first)) first = file->segment;
  }
  return !first || segment < *first || segment.segno(kSegment) < first->segno(kSegment);
}

/// The keeper hears of an object.
void SimStore::asked(const std::string& key) {
  const auto file = segment_of(key);
  if (file && scheduler_.current() == kKeeper && has(file->segment)) asked_.insert(file->segment);
}

void SimStore::on_left_to_us(wal::SegmentName segment) {
  if (asked_.contains(segment)) return;
  complaint_ = Violation{"P17", fmt::format("{} leaves the archive, and nobody has just seen that "
                                            "the store has it{}",
                                            segment, has(segment) ? "" : ": it has not")};
}

void SimStore::on_counted(wal::SegmentName segment) {
  if (has(segment) || has_lost(segment)) return;
  complaint_ = Violation{
      "P15", fmt::format("{} counts as sent, and the store has never had its WAL", segment)};
}

/// A request and its answer, or what becomes of them.
template <typename Action>
auto SimStore::with(Action action) -> decltype(action()) {
  const auto fail = [&](Trouble trouble, const char* what) {
    ++failures_;
    throw StoreError(trouble, what);
  };
  if (!Fiber::inside()) {
    if (answers_left_ && (*answers_left_)-- == 0) {
      answers_left_ = 0;
      fail(Trouble::unreachable, "nobody answers");
    }
    return action();
  }
  scheduler_.pause();
  if (quiet_) return action();
  if (random_.coin())
    scheduler_.sleep_until(story_.now + std::chrono::microseconds(random_.any_size(60'000)));
  if (story_.now < away_until_) {
    if (random_.coin()) scheduler_.sleep_until(std::min(away_until_, story_.now + kPatience));
    fail(Trouble::unreachable, "nobody answers");
  }
  switch (random_.below(160)) {
    case 0:
    case 1:
    case 2:
      fail(Trouble::throttled, "SlowDown");
      break;
    case 3:
    case 4:
    case 5:
      fail(Trouble::unreachable, "the request is lost");
      break;
    case 6:
      fail(Trouble::unreachable, "200 with an error in it");
      break;
    case 7:
      fail(Trouble::clock, "RequestTimeTooSkewed");
      break;
    case 8:
      fail(Trouble::expired, "ExpiredToken");
      break;
    case 9:
      if (random_.one_in(3)) fail(Trouble::refused, "AccessDenied");
      break;
    default:
      break;
  }
  auto result = action();
  if (random_.one_in(40)) fail(Trouble::unreachable, "the answer is lost");
  return result;
}

SimStore::Object SimStore::object_of(const store::Content& content) const {
  Bytes bytes(static_cast<std::size_t>(content.bytes->size()));
  bytes.resize(content.bytes->read_at(0, bytes));
  return {std::make_shared<const Bytes>(std::move(bytes)), content.md5, content.metadata};
}

store::ObjectStore::Put SimStore::place(const std::string& key, Object object,
                                        const Condition& condition) {
  const auto there = objects_.find(key);
  const auto segment = segment_of(key);
  if (condition && conditions_ == Conditions::heeded &&
      *condition != (there == objects_.end() ? std::string() : there->second.etag))
    return Put::taken;
  if (there != objects_.end()) {
    const bool wal = segment || key.starts_with(layout_.wal_prefix());
    if (wal && *there->second.bytes != *object.bytes) {
      complaint_ = Violation{"P15", fmt::format("{} is overwritten by other bytes", key)};
      return Put::stored;
    }
  }
  if (there != objects_.end()) note_rollback(key, there->second, object);
  ++stored_;
  const auto placed = objects_.insert_or_assign(key, std::move(object)).first;
  // (Another branch's WAL in the place of what was lost brings nothing back: seed 158350 of
  // bbaf2c8.)
  if (segment && right(key, placed->second)) lost_.erase(segment->segment);
  return Put::stored;
}

/// The client gives it up, and it is done all the same, some time.
void SimStore::perhaps_late(const std::string& key, Object& object, const Condition& condition) {
  const bool manifest = is_manifest(key);
  if (!Fiber::inside() || quiet_ || !random_.one_in(manifest ? 6 : 60)) return;
  // (What is written once is tried again at once; a manifest after some seconds.)
  const auto delay = std::chrono::milliseconds(manifest ? random_.between(3'000, 40'000) : 0);
  late_.push_back({key, std::move(object), condition, story_.now + delay});
  ++failures_;
  throw StoreError(Trouble::unreachable, "the request is on its way for too long");
}

/// It is a moment quicker. (A store that heeds no conditions cannot keep two apart, and says so.)
void SimStore::another_archiver(const std::string& key) {
  const auto file = segment_of(key);
  if (!file || conditions_ != Conditions::heeded || objects_.contains(key)) return;
  if (file->method != codec::Method::none && file->method != codec::Method::zstd) return;
  const auto start = file->segment.start(kSegment);
  if (lineage_.end(file->segment.timeline()) < start + kSegmentBytes) return;
  const auto truth = lineage_.bytes(file->segment.timeline(), start, start + kSegmentBytes);
  Bytes raw(truth.begin(), truth.end());
  bool other_branch = false;
  if (random_.one_in(5)) {
    const auto spot =
        lineage_.spot(file->segment.timeline(), start, start + kSegmentBytes, random_);
    // In a page header it would be damage, and the segment that of an unknown cluster (seed 663747
    // of 0ca62724).
    other_branch = spot && !spot->page_header;
    if (other_branch) raw[spot->byte - start] ^= std::byte{4};
  }
  Bytes packed;
  if (file->method == codec::Method::zstd) {
    const auto compressor = codec::make_compressor({codec::Method::zstd, 9}, raw.size());
    const auto take = [&](std::span<const std::byte> bytes) {
      packed.insert(packed.end(), bytes.begin(), bytes.end());
    };
    compressor->feed(raw, take);
    compressor->finish(take);
  } else {
    packed = std::move(raw);
  }
  story_.tell("another archiver has put {}{}", key, other_branch ? ", of another branch" : "");
  const auto etag = md5_of(packed);
  static_cast<void>(place(key, {std::make_shared<const Bytes>(std::move(packed)), etag, {}}, ""));
}

store::ObjectStore::Put SimStore::put_if_absent(const std::string& key,
                                                const store::Content& content) {
  auto object = object_of(content);
  perhaps_late(key, object, "");
  const auto result = with([&] {
    if (conditions_ == Conditions::refused) throw StoreError(Trouble::unable, "NotImplemented");
    if (Fiber::inside() && !quiet_ && random_.one_in(20)) another_archiver(key);
    return place(key, std::move(object), "");
  });
  if (result == Put::stored) asked(key);
  return result;
}

void SimStore::put(const std::string& key, const store::Content& content) {
  auto object = object_of(content);
  if (is_manifest(key)) perhaps_late(key, object, std::nullopt);
  with([&] {
    if (Fiber::inside() && !quiet_ && random_.one_in(20)) another_archiver(key);
    return place(key, std::move(object), std::nullopt);
  });
  asked(key);
}

store::ObjectStore::Put SimStore::put_if_match(const std::string& key,
                                               const store::Content& content,
                                               const std::string& etag) {
  if (conditions_ == Conditions::refused) throw StoreError(Trouble::unable, "NotImplemented");
  auto object = object_of(content);
  perhaps_late(key, object, etag);
  return with([&] { return place(key, std::move(object), etag); });
}

std::optional<store::ObjectHead> SimStore::head(const std::string& key) {
  const auto head = with([&]() -> std::optional<store::ObjectHead> {
    const auto found = objects_.find(key);
    if (found == objects_.end()) return std::nullopt;
    return store::ObjectHead{found->second.bytes->size(), found->second.etag,
                             found->second.metadata, false, found->second.etag};
  });
  if (head) asked(key);
  return head;
}

bool SimStore::get(const std::string& key, const std::optional<store::Range>& range,
                   const codec::Sink& sink) {
  const auto content = with([&]() -> std::shared_ptr<const Bytes> {
    const auto found = objects_.find(key);
    return found == objects_.end() ? nullptr : found->second.bytes;
  });
  if (!content) return false;
  std::span<const std::byte> wanted = *content;
  if (range) {
    wanted = wanted.subspan(std::min<std::size_t>(wanted.size(), range->first));
    wanted = wanted.first(std::min<std::size_t>(wanted.size(), range->size));
  }
  if (!wanted.empty()) sink(wanted);
  return true;
}

store::ObjectPage SimStore::list(const std::string& prefix, const std::string& after,
                                 std::size_t most) {
  if (scheduler_.current() == kKeeper) asked_.clear();
  // Small pages: the next one begins somewhere else.
  most = std::min<std::size_t>(most, 7);
  return with([&] {
    store::ObjectPage page;
    for (auto each = objects_.lower_bound(prefix);
         each != objects_.end() && each->first.starts_with(prefix); ++each) {
      if (each->first <= after) continue;
      if (page.objects.size() == most) {
        page.more = true;
        break;
      }
      // Its clock is anything's.
      page.objects.push_back(
          {each->first, each->second.bytes->size(), each->second.etag,
           std::chrono::system_clock::time_point(std::chrono::seconds(random_.below(1U << 31))),
           each->second.etag});
    }
    return page;
  });
}

std::vector<store::Kept> SimStore::remove(std::span<const std::string> keys) {
  return with([&] {
    for (const auto& key : keys) objects_.erase(key);
    return std::vector<store::Kept>();
  });
}

}  // namespace weir::sim
