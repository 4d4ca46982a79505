// A manifest is a chain for each archiver, its objects signed as a whole
// (`store/ledger/manifest_*`, `signify`). One chain for all writers of a bucket would make an
// archiver wait for the others at each line, and needs a conditional write that not every store
// supports. Readers combine the chains: for each object the newest line of each chain, for a prune
// (separate chains, `prune…`) the latest start. The newest object is rewritten as a whole as it
// grows, with the signature in it (signify's embedded form): one request, no moment in which text
// and signature do not match, and after a lost answer it is put once more. The order is object,
// line, mark: a crash leaves a line that is recorded twice, and never an object that counts as
// uploaded without one. The newest object's lines are next to the mark, in the same file: lines
// that the store has lost are put again, and a chain that another writer has continued is left
// alone.

#include "store/ledger/manifest_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "crypto/digest.h"
#include "store/digests.h"
#include "store/listing.h"
#include "store/memory_bytes.h"

namespace weir::store {

namespace {

/// An object may change between two reads, but not forever.
constexpr int kLooks = 4;

/// The lines of an object, if it belongs to its place; links are not checked.
std::optional<std::vector<std::string>> lines_of(const ManifestPlace& place,
                                                 std::string_view text) {
  std::vector<std::string> lines;
  const auto first = manifest_text(place, {});
  if (!text.starts_with(first) || !text.ends_with('\n')) return std::nullopt;
  text.remove_prefix(first.size());
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return lines;
}

/// Each follows the one before it.
bool are_linked(const std::vector<std::string>& lines) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto line = ManifestLine::parse(lines[i]);
    if (!line || (i > 0 && line->before != hash_of_line(lines[i - 1]))) return false;
  }
  return true;
}

/// Another process, such as that of a copy of the archive, continues the chain, with lines that are
/// as valid as ours.
class Continued final : public ErrorAs<Continued> {
 public:
  using ErrorAs::ErrorAs;
};

bool begins_with(const std::vector<std::string>& whole, const std::vector<std::string>& front) {
  return whole.size() >= front.size() && std::equal(front.begin(), front.end(), whole.begin());
}

}  // namespace

std::string new_manifest_id() { return fmt::format("{:016x}", random_bits()); }

std::uint64_t ManifestWriter::tail_number() const {
  return lines_ == 0 ? 0 : (lines_ - 1) / kManifestLines;
}

void ManifestWriter::begin(const std::string& id) {
  id_ = id;
  lines_ = 0;
  head_ = genesis_of(id);
  full_head_.clear();
  tail_.clear();
  full_.clear();
  dirty_ = false;
  many_write_ = false;
  there_.reset();
  doubts_.clear();
}

/// Reads an object, and remembers which version it is. nullopt: there is none.
std::optional<std::string> ManifestWriter::read_object(std::uint64_t number) {
  const auto key = manifest_key(layout_, id_, number);
  // Before the content: if another one is put in between, only the next condition fails.
  const auto head = etags_are_md5_ ? std::nullopt : store_.head(key);
  auto content = get_text(store_, key, kLargestManifest);
  if (content && (etags_are_md5_ || head))
    there_ =
        There{number, head ? head->etag : crypto::digest_of(crypto::Digest::Kind::md5, *content)};
  return content;
}

/// The lines from this object on, if each follows the one before it; empty: there is no such
/// object.
std::optional<std::vector<std::string>> ManifestWriter::read_from(std::uint64_t number,
                                                                  bool& signed_as_ours) {
  std::vector<std::string> lines;
  for (;; ++number) {
    const auto content = read_object(number);
    if (!content) break;
    const auto found = SignedText::parse(*content);
    signed_as_ours = key_ ? found && found->is_by(key_->public_key()) : !found;
    const auto more = lines_of({id_, number}, found ? found->text : *content);
    if (!more || more->size() > kManifestLines) return std::nullopt;
    lines.insert(lines.end(), more->begin(), more->end());
    if (more->size() < kManifestLines) break;
  }
  return are_linked(lines) ? std::optional(std::move(lines)) : std::nullopt;
}

/// A line that was already put, or is remembered.
void ManifestWriter::add_line(std::string text) {
  if (tail_.size() == kManifestLines) tail_.clear();
  head_ = hash_of_line(text);
  tail_.push_back(std::move(text));
  ++lines_;
  PGWEIR_CHECK((lines_ - tail_.size()) % kManifestLines == 0);
  if (tail_.size() == kManifestLines) full_head_ = head_;
}

void ManifestWriter::start(const std::optional<ManifestMemory>& memory, const std::string& new_id) {
  begin(memory ? memory->id : new_id);
  if (!memory) return;
  only_full_ = memory->only_full;
  const auto first = memory->lines - memory->tail.size();
  const auto adopt = [&](const std::vector<std::string>& lines) {
    lines_ = first;
    for (const auto& line : lines) add_line(line);
  };
  bool signed_as_ours = true;
  const auto there = read_from(first / kManifestLines, signed_as_ours);
  if (there && begins_with(*there, memory->tail)) {
    // More lines may be those of a process that was killed before it could remember them. Without
    // our signature, they may be anybody's, and must not get it: their files get a line again.
    const bool strange = key_ && !signed_as_ours && there->size() > memory->tail.size();
    if (strange)
      log_.warning(
          "the manifest in the store has {} unknown lines that are not signed with this key ({}): "
          "they are dropped; find out which program changes objects there (\"pgweir verify "
          "--store\")",
          there->size() - memory->tail.size(),
          store_.name_of(manifest_key(layout_, id_, first / kManifestLines)));
    adopt(strange ? memory->tail : *there);
    dirty_ = !signed_as_ours && !tail_.empty();  // the key is a new one
    // A previous process may have given up a request just now.
    if (conditions_ != Conditions::heeded && there_ && there_->number == tail_number())
      doubts_[there_->number] = {text_of(there_->number, tail_), tail_.size() == kManifestLines};
    return;
  }
  if (there && begins_with(memory->tail, *there)) {
    const auto number = first / kManifestLines;
    // (A prune keeps the newest object.) Without its front it could never be verified again.
    if (there->empty() && number > 0 && !read_object(number - 1)) {
      log_.warning(
          "the store has lost the manifest {}: the new manifest {} is started, with the newest "
          "lines; find out which program removes objects there (\"pgweir verify --store\")",
          id_, new_id);
      begin(new_id);
      for (const auto& text : memory->tail)
        if (auto line = ManifestLine::parse(text)) append(std::move(line->entry));
      return;
    }
    const bool waiting = only_full_ && memory->tail.size() < kManifestLines && there->empty();
    if (!waiting)
      log_.warning(
          "the manifest in the store has lost its newest lines ({}): they are written again; "
          "find out which program changes objects there (\"pgweir verify --store\")",
          store_.name_of(manifest_key(layout_, id_, first / kManifestLines)));
    adopt(memory->tail);
    dirty_ = true;
    return;
  }
  const auto key = manifest_key(layout_, id_, first / kManifestLines);
  if (!there) {  // While it is the newest object, no key proves the earlier ones.
    tell_rewritten(key);
    adopt(memory->tail);
    dirty_ = true;
    return;
  }
  tell_left(key, new_id);
  begin(new_id);
}

void ManifestWriter::tell_rewritten(const std::string& key) {
  log_.warning(
      "the manifest in the store was changed by another writer ({}): it is written again; find "
      "out which program changes objects there (\"pgweir verify --store\")",
      store_.name_of(key));
}

void ManifestWriter::tell_left(const std::string& key, const std::string& new_id) {
  log_.warning(
      "the manifest in the store was changed by another writer ({}): it is kept, and the new "
      "manifest {} is started; find out which program writes there (\"pgweir verify --store\")",
      store_.name_of(key), new_id);
}

void ManifestWriter::start_with_store(const std::string& name) {
  const auto id = key_ ? name + to_string(key_->public_key().number) : name;
  begin(id);
  many_write_ = true;
  const auto prefix = manifest_prefix(layout_) + id + "/";
  std::optional<std::uint64_t> newest;
  for_each_object(store_, prefix, kOnce, [&](const ObjectEntry& object) {
    if (const auto place = parse_manifest_key(layout_, object.key)) newest = place->number;
  });
  if (!newest) return;
  bool signed_as_ours = true;
  const auto there = read_from(*newest, signed_as_ours);
  if (!there || there->empty())
    throw Error(ErrorKind::damage, "a manifest in the store cannot be read")
        .with("object", store_.name_of(manifest_key(layout_, id, *newest)))
        .hint("Nothing was changed. Run \"pgweir verify --store\" to find the damage.");
  if (key_ && !signed_as_ours)
    throw Error(ErrorKind::damage, "a manifest in the store is no longer signed with its key")
        .with("object", store_.name_of(manifest_key(layout_, id, there_->number)))
        .hint(
            "Nothing was changed. Find out which program writes there (\"pgweir verify --store\"), "
            "and put the previous version of the object back. If there is none, remove the "
            "object.");
  lines_ = *newest * kManifestLines;
  for (const auto& line : *there) add_line(line);
}

void ManifestWriter::append(ManifestEntry entry) {
  if (tail_.size() == kManifestLines && dirty_) full_.push_back({tail_number(), tail_});
  add_line(ManifestLine{std::move(entry), head_}.to_text());
  dirty_ = true;
}

bool ManifestWriter::waits() const { return only_full_ && tail_.size() < kManifestLines; }

void ManifestWriter::put() {
  try {
    put_all();
  } catch (const Continued&) {  // each would overwrite the other's lines
    const auto new_id = new_manifest_id();
    tell_left(manifest_key(layout_, id_, tail_number()), new_id);
    start_again(new_id);
    put_all();
  } catch (const StoreError& error) {
    if (error.trouble() != Trouble::refused || only_full_ || many_write_ || !is_unreplaceable())
      throw;
    log_.warning(
        "the manifest's newest object cannot be replaced ({}): a new manifest is started, whose "
        "lines are kept in .pgweir-store until there are {} of them to store",
        error.code().empty() ? error.message() : error.code(), kManifestLines);
    only_full_ = true;
    start_again(new_manifest_id());
    put_all();
  }
}

bool ManifestWriter::is_unreplaceable() {
  const auto number = full_.empty() ? tail_number() : full_.front().number;
  return store_.traits().rights_may_forbid_replacing &&
         store_.head(manifest_key(layout_, id_, number)).has_value();
}

/// The lines that may not have been put are in the new chain as well.
void ManifestWriter::start_again(const std::string& new_id) {
  std::vector<std::string> lines;
  for (const auto& each : full_) lines.insert(lines.end(), each.lines.begin(), each.lines.end());
  lines.insert(lines.end(), tail_.begin(), tail_.end());
  begin(new_id);
  for (const auto& text : lines)
    if (auto line = ManifestLine::parse(text)) append(std::move(line->entry));
}

void ManifestWriter::put_all() {
  // A chain must not have gaps: objects are put in order.
  while (!full_.empty()) {
    PGWEIR_CHECK(full_.front().lines.size() == kManifestLines &&
                 full_.front().number < tail_number());
    put_object(full_.front().number, full_.front().lines);
    full_.pop_front();
  }
  if (!dirty_ || waits()) return;
  put_object(tail_number(), tail_);
  dirty_ = false;
  log_.debug("manifest {}: {} lines, head {}", id_, lines_, head_);
}

std::string ManifestWriter::text_of(std::uint64_t number,
                                    std::span<const std::string> lines) const {
  const auto plain = manifest_text({id_, number}, lines);
  return key_ ? key_->sign(plain) : plain;
}

void ManifestWriter::put_object(std::uint64_t number, std::span<const std::string> lines) {
  const auto text = text_of(number, lines);
  const bool whole = lines.size() == kManifestLines;
  try {
    put_text(number, text, whole);
  } catch (const StoreError& error) {
    const bool may_come_late =
        error.trouble() == Trouble::unreachable || error.trouble() == Trouble::stopped;
    if (may_come_late && conditions_ != Conditions::heeded) doubts_.try_emplace(number);
    throw;
  }
  if (const auto doubt = doubts_.find(number); doubt != doubts_.end()) {
    doubt->second = {text, whole};
    look_again();
  }
  // Kept even if the store has less: it reveals a chain that was rolled back.
  if (whole)
    log_.info("manifest {} in the store has {} lines, its head is {}", id_,
              (number + 1) * kManifestLines, hash_of_line(lines.back()));
}

void ManifestWriter::put_text(std::uint64_t number, const std::string& text, bool locked) {
  MemoryBytes bytes(std::as_bytes(std::span(text)));
  auto content = content_of(bytes);
  content.locked = locked;
  const auto key = manifest_key(layout_, id_, number);
  const auto is_there = [&] {
    there_ = There{number, content.md5};
    if (etags_are_md5_) return;
    if (const auto head = store_.head(key)) there_->etag = head->etag;
  };
  for (int look = 0; look < kLooks; ++look) {
    const auto expected = there_ && there_->number == number ? there_->etag : std::string();
    if (put_over_known(number, key, content) == ObjectStore::Put::stored) return is_there();
    // Ours, if the answer was lost, or another process's.
    const auto head = store_.head(key);
    const auto there = head ? get_text(store_, key, kLargestManifest) : std::nullopt;
    there_.reset();
    if (!there) continue;
    if (head->etag != crypto::digest_of(crypto::Digest::Kind::md5, *there)) etags_are_md5_ = false;
    // Rejected twice although the object is the expected one: Ceph rejects each "If-Match" in a
    // versioned bucket.
    if (look > 0 && head->etag == expected) compares_ = false;
    there_ = There{number, head->etag};
    if (*there == text || takes_more(number, *there, text)) return;
    require_ours(number, key, *there, text);
  }
  throw StoreError(Trouble::unreachable, "an object of the manifest keeps changing")
      .with("object", store_.name_of(key));
}

ObjectStore::Put ManifestWriter::put_over_known(std::uint64_t number, const std::string& key,
                                                const Content& content) {
  const bool is_known = there_ && there_->number == number;
  // A store that ignores conditions would overwrite another process's lines unnoticed.
  if (conditions_ != Conditions::heeded) {
    const auto head = store_.head(key);
    if (head.has_value() != is_known || (head && head->etag != there_->etag))
      return ObjectStore::Put::taken;
  }
  if (compares_) {
    if (is_known) return put_over(store_, key, content, there_->etag);
    try {
      return store_.put_if_absent(key, content);
    } catch (const StoreError& error) {
      if (error.trouble() != Trouble::unable) throw;  // conditions are not supported
    }
  }
  store_.put(key, content);
  return ObjectStore::Put::stored;
}

/// True if the stored object has all lines of the newest one, and others after them: a request that
/// a previous process gave up has taken effect only now. Those lines are continued, as in start().
bool ManifestWriter::takes_more(std::uint64_t number, const std::string& there,
                                const std::string& text) {
  if (many_write_ || number != tail_number() || text != text_of(number, tail_)) return false;
  const auto found = SignedText::parse(there);
  if (key_ ? !found || !found->is_by(key_->public_key()) : found.has_value()) return false;
  const auto theirs = lines_of({id_, number}, found ? found->text : there);
  if (!theirs || theirs->size() > kManifestLines || !begins_with(*theirs, tail_)) return false;
  const std::span more(theirs->begin() + static_cast<std::ptrdiff_t>(tail_.size()), theirs->end());
  auto head = head_;
  for (const auto& each : more) {
    const auto line = ManifestLine::parse(each);
    if (!line || line->before != head) return false;
    head = hash_of_line(each);
  }
  for (const auto& each : more) add_line(each);
  return true;
}

/// The stored object differs from what was put last: older lines of ours, or another writer's.
void ManifestWriter::require_ours(std::uint64_t number, const std::string& key,
                                  const std::string& there, const std::string& text) {
  const auto lines = [&](const std::string& content) {
    const auto found = SignedText::parse(content);
    return lines_of({id_, number}, found ? found->text : content);
  };
  const auto ours = lines(text);
  const auto theirs = lines(there);
  if (ours && theirs && begins_with(*ours, *theirs)) return;
  const auto error =
      Error(ErrorKind::retry, "another process has written the manifest at the same time")
          .with("object", store_.name_of(key))
          .hint("Run the command again.");
  if (many_write_) throw error;
  const auto found = SignedText::parse(there);
  const bool is_like_ours = key_ ? found && found->is_by(key_->public_key()) : !found;
  if (theirs && is_like_ours && are_linked(*theirs)) throw Continued(error);
  tell_rewritten(key);
}

void ManifestWriter::look_again() {
  for (const auto& [number, doubt] : doubts_) {
    if (doubt.text.empty()) continue;  // the next put compares with the stored object
    const auto key = manifest_key(layout_, id_, number);
    const auto there = get_text(store_, key, kLargestManifest);
    if (there && *there == doubt.text) continue;
    log_.warning(
        "an older object of the manifest has replaced a newer one ({}): the newer one "
        "is written again",
        store_.name_of(key));
    const auto newest = there_;
    there_.reset();
    static_cast<void>(read_object(number));
    put_text(number, doubt.text, doubt.locked);
    if (newest && newest->number != number) there_ = newest;
  }
}

}  // namespace weir::store
