#include "store/manifest_writer.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/error.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"
#include "store/memory_bytes.h"

namespace weir::store {

namespace {

constexpr std::size_t kPage = 1000;  ///< objects of a listing

std::string digest_of(crypto::Digest::Kind kind, std::string_view text) {
  crypto::Digest digest(kind);
  digest.add(std::as_bytes(std::span(text)));
  return crypto::to_hex(digest.finish());
}

/// The lines of an object, if it is what its place says; without a look at their links.
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

bool begins_with(const std::vector<std::string>& whole, const std::vector<std::string>& front) {
  return whole.size() >= front.size() && std::equal(front.begin(), front.end(), whole.begin());
}

}  // namespace

std::string new_manifest_id() {
  std::array<std::byte, 8> id{};
  crypto::random_bytes(id);
  return crypto::to_hex(id);
}

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
}

/// The lines from this object on, if each is a line that follows the one before it; empty: there is
/// no such object.
std::optional<std::vector<std::string>> ManifestWriter::read_from(std::uint64_t number,
                                                                  bool& signed_as_ours) {
  std::vector<std::string> lines;
  for (;; ++number) {
    const auto content = get_text(store_, manifest_key(layout_, id_, number), kLargestManifest);
    if (!content) break;
    const auto found = SignedText::parse(*content);
    signed_as_ours = key_ ? found && found->is_by(key_->public_key()) : !found;
    const auto more = lines_of({id_, number}, found ? found->text : *content);
    if (!more || more->size() > kManifestLines) return std::nullopt;
    lines.insert(lines.end(), more->begin(), more->end());
    if (more->size() < kManifestLines) break;
  }
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto line = ManifestLine::parse(lines[i]);
    if (!line || (i > 0 && line->before != hash_of_line(lines[i - 1]))) return std::nullopt;
  }
  return lines;
}

/// One that was put already, or is remembered.
void ManifestWriter::add_line(std::string text) {
  if (tail_.size() == kManifestLines) tail_.clear();
  head_ = hash_of_line(text);
  tail_.push_back(std::move(text));
  ++lines_;
  if (tail_.size() == kManifestLines) full_head_ = head_;
}

void ManifestWriter::start(const std::optional<ManifestMemory>& memory, const std::string& new_id) {
  begin(memory ? memory->id : new_id);
  if (!memory) return;
  const auto first = memory->lines - memory->tail.size();
  const auto adopt = [&](const std::vector<std::string>& lines) {
    lines_ = first;
    for (const auto& line : lines) add_line(line);
  };
  bool signed_as_ours = true;
  const auto there = read_from(first / kManifestLines, signed_as_ours);
  if (there && begins_with(*there, memory->tail)) {
    adopt(*there);
    dirty_ = !signed_as_ours && !tail_.empty();  // the key is a new one
    return;
  }
  if (there && begins_with(memory->tail, *there)) {
    log_.warning(
        "the manifest in the store has lost its newest lines ({}): they are put again; find out "
        "who changes objects there (\"pgweir verify --store\")",
        store_.name_of(manifest_key(layout_, id_, first / kManifestLines)));
    adopt(memory->tail);
    dirty_ = true;
    return;
  }
  log_.warning(
      "the manifest in the store is not what was written there ({}): it is left as it is, and a "
      "new "
      "one begins, {}; find out who else writes there (\"pgweir verify --store\")",
      store_.name_of(manifest_key(layout_, id_, first / kManifestLines)), new_id);
  begin(new_id);
}

void ManifestWriter::start_with_store(const std::string& id) {
  begin(id);
  const auto prefix = manifest_prefix(layout_) + id + "/";
  std::optional<std::uint64_t> newest;
  std::string after;
  for (bool more = true; more;) {
    const auto page = store_.list(prefix, after, kPage);
    more = page.more && !page.objects.empty();
    for (const auto& object : page.objects) {
      after = object.key;
      if (const auto place = parse_manifest_key(layout_, object.key)) newest = place->number;
    }
  }
  if (!newest) return;
  bool signed_as_ours = true;
  const auto there = read_from(*newest, signed_as_ours);
  if (!there || there->empty())
    throw Error(ErrorKind::damage, "a manifest in the store cannot be read")
        .with("object", store_.name_of(manifest_key(layout_, id, *newest)))
        .hint("\"pgweir verify --store\" says what is wrong with it. Nothing was changed.");
  lines_ = *newest * kManifestLines;
  for (const auto& line : *there) add_line(line);
}

void ManifestWriter::append(ManifestEntry entry) {
  if (tail_.size() == kManifestLines && dirty_) full_.push_back({tail_number(), tail_});
  add_line(ManifestLine{std::move(entry), head_}.to_text());
  dirty_ = true;
}

void ManifestWriter::put() {
  // A chain has no hole: an object is there before the next one is.
  while (!full_.empty()) {
    put_object(full_.front().number, full_.front().lines);
    full_.pop_front();
  }
  if (!dirty_) return;
  put_object(tail_number(), tail_);
  dirty_ = false;
  log_.debug("manifest {}: {} lines, head {}", id_, lines_, head_);
}

void ManifestWriter::put_object(std::uint64_t number, std::span<const std::string> lines) {
  const auto plain = manifest_text({id_, number}, lines);
  const auto text = key_ ? key_->sign(plain) : plain;
  MemoryBytes bytes(std::as_bytes(std::span(text)));
  store_.put(manifest_key(layout_, id_, number),
             {.bytes = &bytes,
              .sha256 = digest_of(crypto::Digest::Kind::sha256, text),
              .md5 = digest_of(crypto::Digest::Kind::md5, text),
              .locked = lines.size() == kManifestLines});
  // Kept where the store has no say: by it a chain that was rolled back is found out.
  if (lines.size() == kManifestLines)
    log_.info("manifest {} in the store has {} lines, its head is {}", id_,
              (number + 1) * kManifestLines, hash_of_line(lines.back()));
}

}  // namespace weir::store
