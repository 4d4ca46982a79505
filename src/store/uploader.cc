#include "store/uploader.h"

#include <fmt/format.h>

#include <optional>
#include <span>
#include <utility>

#include "archive/compare.h"
#include "archive/content.h"
#include "archive/forms.h"
#include "archive/history_store.h"
#include "archive/segment_reader.h"
#include "crypto/digest.h"
#include "store/memory_bytes.h"
#include "store/one_file_shelf.h"
#include "wal/record_verifier.h"

namespace weir::store {

namespace {

/// A file may go from one form to another while it is looked at, and back; not for ever.
constexpr int kLooks = 4;

struct Digests {
  std::string sha256;
  std::string md5;
};

Digests digests_of(io::Bytes& bytes) {
  crypto::Digest sha256(crypto::Digest::Kind::sha256);
  crypto::Digest md5(crypto::Digest::Kind::md5);
  std::vector<std::byte> buffer(256 * 1024);
  for (std::uint64_t offset = 0;;) {
    const auto count = bytes.read_at(offset, buffer);
    sha256.add(std::span(buffer).first(count));
    md5.add(std::span(buffer).first(count));
    offset += count;
    if (count < buffer.size()) break;
  }
  return {crypto::to_hex(sha256.finish()), crypto::to_hex(md5.finish())};
}

Metadata metadata_of(const archive::Identity& cluster, const std::string& sha256) {
  return {{"pgweir-system-id", std::to_string(cluster.system_identifier)},
          {"pgweir-segment-size", std::to_string(cluster.segment_size.bytes())},
          {"pgweir-sha256", sha256}};
}

}  // namespace

Uploader::Checked Uploader::check(const archive::SegmentFileName& file, io::Bytes& bytes) const {
  const auto& size = cluster_.segment_size;
  const auto start = file.segment.start(size);
  const auto history = timelines_.history(file.segment.timeline());
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = file.segment.timeline(),
                                .system_identifier = cluster_.system_identifier,
                                .history = history ? &*history : nullptr},
                               start);
  const auto path = where_.archive.path_of(file.to_string());
  std::optional<wal::Damage> damage;
  std::uint64_t content = 0;
  archive::read_content(bytes, file.method, path, [&](std::span<const std::byte> wal) {
    content += wal.size();
    if (content > size.bytes()) return false;
    damage = verifier.feed(wal);
    return !damage;
  });
  constexpr const char* kHint =
      "It is not sent: what is in the store is never overwritten. \"pgweir verify\" tells more; "
      "\"pgweir import --replace-damaged\" mends it from elsewhere.";
  if (damage)
    throw Error(ErrorKind::damage, "a segment that was to be stored is damaged: " + damage->what)
        .with("path", path)
        .with("at", damage->at)
        .hint(kHint);
  if (content != size.bytes())
    throw Error(ErrorKind::damage, "a segment that was to be stored has not the size of a segment")
        .with("path", path)
        .with("bytes", content)
        .hint(kHint);
  const auto digests = digests_of(bytes);
  return {archive::meaningful_bytes(verifier, start, size),
          {&bytes, digests.sha256, digests.md5, metadata_of(cluster_, digests.sha256)}};
}

bool Uploader::is_same(const archive::SegmentFileName& ours, const Checked& checked,
                       const archive::SegmentFileName& theirs) {
  const auto key = where_.layout.key(theirs);
  const auto head = where_.store.head(key);
  if (!head) return false;
  // What the store says of the bytes itself. (Of one that encrypts by a key of its own the ETag is
  // no digest of them: then they are compared.)
  if (ours == theirs && head->size == checked.content.bytes->size() &&
      head->etag == checked.content.md5)
    return true;

  const auto conflict = [&](const std::string& how) {
    Error error(ErrorKind::conflict, "the store has other WAL under a segment's name: " + how);
    error.with("object", where_.store.name_of(key))
        .with("file", where_.archive.path_of(ours.to_string()));
    const auto cluster = head->metadata.find("pgweir-system-id");
    if (cluster != head->metadata.end() &&
        cluster->second != std::to_string(cluster_.system_identifier))
      error.with("system identifier there", cluster->second);
    return error.hint(
        "Both stay as they are, and nothing more of this timeline is sent. Two clusters, or two "
        "branches of one, need places of their own (--store-name, or another prefix).");
  };
  const auto& size = cluster_.segment_size;
  const auto most = size.bytes() + size.bytes() / 8 + 64 * 1024;
  if (head->size > most) throw conflict(fmt::format("it has {} bytes", head->size));
  std::vector<std::byte> fetched;
  fetched.reserve(head->size);
  const bool there = where_.store.get(key, std::nullopt, [&](std::span<const std::byte> piece) {
    fetched.insert(fetched.end(), piece.begin(), piece.end());
    return fetched.size() <= most;
  });
  if (!there) return false;
  OneFileShelf shelf(where_.store.name_of(key).substr(
                         0, where_.store.name_of(key).size() - theirs.to_string().size() - 1),
                     theirs.to_string(), std::move(fetched));
  std::optional<std::uint64_t> offset;
  try {
    offset =
        archive::first_difference(where_.archive, ours, shelf, theirs, size, checked.records_end);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    throw conflict(fmt::format("it is damaged ({})", error.message()));
  }
  if (offset)
    throw conflict(fmt::format("it differs from {} on", ours.segment.start(size) + *offset));
  return true;
}

Uploader::Result Uploader::segment(wal::SegmentName segment,
                                   const std::vector<archive::SegmentFileName>& there) {
  for (int look = 0; look < kLooks; ++look) {
    const auto file = archive::find_finished(where_.archive, segment);
    if (!file) return {Result::What::gone};
    const auto bytes = where_.archive.open_bytes(file->to_string());
    if (!bytes) continue;
    try {
      const auto checked = check(*file, *bytes);
      for (const auto& theirs : there)
        if (is_same(*file, checked, theirs)) return {Result::What::was_there};
      if (put_once(where_.store, conditions_, where_.layout.key(*file), checked.content) ==
          ObjectStore::Put::stored)
        return {Result::What::stored, bytes->size()};
      // Ours, of which the answer was lost, or another archiver's.
      if (is_same(*file, checked, *file)) return {Result::What::was_there};
    } catch (const Error& error) {
      if (!archive::is_gone(error)) throw;  // compressed meanwhile
    }
  }
  throw Error(ErrorKind::retry, "a segment and its object in the store do not hold still")
      .with("segment", segment)
      .hint("Somebody removes objects, or files, at the same time.");
}

Uploader::Result Uploader::history(wal::TimelineId timeline) {
  const auto text = archive::read_history(where_.archive, timeline);
  if (!text) return {Result::What::gone};
  const auto ours = wal::TimelineHistory::parse(timeline, *text);
  const auto path = where_.archive.path_of(wal::history_name(timeline));
  if (!ours)
    throw Error(ErrorKind::damage, "a history that was to be stored cannot be read")
        .with("path", path)
        .hint("Copy it from a server's pg_wal or from another archive.");
  const auto bytes = std::as_bytes(std::span(*text));
  MemoryBytes content(bytes);
  const auto digests = digests_of(content);
  const auto key = where_.layout.history_key(timeline);
  if (put_once(where_.store, conditions_, key,
               {&content, digests.sha256, digests.md5, metadata_of(cluster_, digests.sha256)}) ==
      ObjectStore::Put::stored)
    return {Result::What::stored, bytes.size()};
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 20;
  const auto held = get_text(where_.store, key, kLargest);
  if (!held)
    throw Error(ErrorKind::retry, "a history in the store was removed while it was looked at")
        .with("object", where_.store.name_of(key));
  if (*held == *text || wal::TimelineHistory::parse(timeline, *held) == ours)
    return {Result::What::was_there};
  throw Error(ErrorKind::conflict, "the store tells another history of a timeline")
      .with("object", where_.store.name_of(key))
      .with("file", path)
      .hint(
          "Two servers were promoted to the same timeline. Find out which one the store follows, "
          "and give the other one a place of its own (--store-name, or another prefix).");
}

}  // namespace weir::store
