#include "store/send/uploader.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "archive/compare.h"
#include "archive/content.h"
#include "archive/forms.h"
#include "archive/history_store.h"
#include "archive/segment_reader.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"
#include "store/digests.h"
#include "store/memory_bytes.h"
#include "store/send/padded.h"
#include "store/shelf/object_bytes.h"
#include "store/shelf/one_file_shelf.h"
#include "wal/record_verifier.h"
#include "wal/transaction_end.h"

namespace weir::store {

namespace {

/// A file may change its form while it is read, and back, but not forever.
constexpr int kLooks = 4;

Metadata metadata_of(const archive::Identity& cluster, const std::string& sha256) {
  return {{"pgweir-system-id", std::to_string(cluster.system_identifier)},
          {"pgweir-segment-size", std::to_string(cluster.segment_size.bytes())},
          {"pgweir-sha256", sha256}};
}

/// An object's name in a manifest.
std::string last_part(const std::string& key) { return key.substr(key.rfind('/') + 1); }

/// The version that readers use if there are several. (Without the right to list them, that is
/// unknown.)
std::string older_version(ObjectStore& store, const std::string& key) {
  return if_permitted([&] { return oldest_version(store, key); }).value_or("");
}

/// That version of the object is the one that differs.
Error of_version(Error error, const std::string& version) {
  return std::move(error)
      .with("version", version)
      .hint(
          "The bucket keeps versions. This one is not in an ordinary listing: if it is the wrong "
          "one, permanently remove it by its version ID.");
}

}  // namespace

/// An existing object, and its relation to ours.
struct Uploader::Found {
  Same same = Same::gone;
  ManifestEntry entry{};  ///< unless it is gone
  std::string key{};      ///< likewise
  std::string etag{};     ///< likewise
};

Uploader::Checked Uploader::check(const archive::SegmentFileName& file, io::Bytes& bytes) const {
  const auto& size = cluster_.segment_size;
  const auto start = file.segment.start(size);
  const auto history = timelines_.history(file.segment.timeline());
  std::optional<wal::PgTime> commit;
  wal::TransactionObserver transactions([&](const wal::TransactionEnd& end) {
    if (!end.aborted) commit = end.commit.time;
    return true;
  });
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = file.segment.timeline(),
                                .system_identifier = cluster_.system_identifier,
                                .observer = &transactions,
                                .history = history ? &*history : nullptr},
                               start);
  const auto path = where_.archive.path_of(file.to_string());
  const auto& sealing = where_.sealing;
  const bool compared = !sealing.recipients.empty() && !sealing.compare_key.empty();
  const auto& wanted = where_.compression;
  const bool repacks = wanted && wanted->method != file.method;
  Checked checked{.sent_as = file};
  const codec::PackedSink pack = [&](std::span<const std::byte> piece) {
    checked.packed.insert(checked.packed.end(), piece.begin(), piece.end());
  };
  std::unique_ptr<codec::Compressor> compressor;
  if (repacks) {
    checked.sent_as.method = wanted->method;
    checked.packed.reserve(size.bytes());  // growing would take twice that in between
    compressor = codec::make_compressor(*wanted, size.bytes());
  }
  crypto::Digest digest(crypto::Digest::Kind::sha256);
  std::optional<wal::Damage> damage;
  std::uint64_t content = 0;
  archive::read_content(bytes, file.method, path, [&](std::span<const std::byte> wal) {
    content += wal.size();
    if (content > size.bytes()) return false;
    if (compared || repacks) digest.add(wal);
    damage = verifier.feed(wal);
    if (damage) return false;
    if (compressor) compressor->feed(wal, pack);
    return true;
  });
  constexpr const char* kHint =
      "It is not sent, since objects in the store are never overwritten. Run \"pgweir verify\" "
      "for details; \"pgweir import --replace-damaged\" repairs it from another copy.";
  if (damage)
    throw Error(ErrorKind::damage, "a segment to be uploaded is damaged: " + damage->what)
        .with("path", path)
        .with("at", damage->at)
        .hint(kHint);
  if (content != size.bytes())
    throw Error(ErrorKind::damage, "a segment to be uploaded has the wrong size")
        .with("path", path)
        .with("bytes", content)
        .hint(kHint);
  checked.records_end = archive::meaningful_bytes(verifier, start, size);
  checked.wal = {.first = verifier.first_record_start(),
                 .last = verifier.records_end(),
                 .commit = commit,
                 .system_identifier = cluster_.system_identifier};
  const auto sha256 = compared || repacks ? crypto::to_hex(digest.finish()) : std::string();
  io::Bytes* plain = &bytes;
  if (compressor) {
    compressor->finish(pack);
    compressor.reset();  // its memory
    require_unpacks_to(file, checked, sha256);
    checked.repacked = std::make_unique<MemoryBytes>(checked.packed);
    plain = checked.repacked.get();
  }
  io::Bytes* sent = plain;
  if (!where_.sealing.recipients.empty()) {
    checked.sealed = std::make_unique<AgeSealed>(*plain, where_.sealing.recipients);
    sent = checked.sealed.get();
  }
  const auto digests = digests_of(*sent);
  checked.content = {sent, digests.sha256, digests.md5, metadata_of(cluster_, digests.sha256),
                     true};
  if (!checked.sealed) return checked;
  auto& metadata = checked.content.metadata;
  add_sealed_metadata(metadata, plain->size());
  if (where_.sealing.compare_key.empty()) return checked;
  // Few segments have an unused end: then read it once more up to there.
  checked.digest =
      checked.records_end == content ? sha256 : digest_of_wal(file, bytes, checked.records_end);
  checked.hmac = hmac_of_wal(where_.sealing.compare_key, file.segment, checked.digest);
  add_hmac_metadata(metadata, where_.sealing.compare_key, checked.hmac);
  return checked;
}

/// The local file may be removed once the object is stored: so what the compressor has written is
/// decompressed, and compared with what was verified.
void Uploader::require_unpacks_to(const archive::SegmentFileName& file, const Checked& checked,
                                  const std::string& sha256) const {
  const auto path = where_.archive.path_of(file.to_string());
  MemoryBytes packed(checked.packed);
  crypto::Digest digest(crypto::Digest::Kind::sha256);
  archive::read_content(packed, checked.sent_as.method, path, [&](std::span<const std::byte> wal) {
    digest.add(wal);
    return true;
  });
  if (crypto::to_hex(digest.finish()) != sha256)
    throw Error(ErrorKind::damage, "a compressed segment does not match its original")
        .with("path", path)
        .hint("It is not sent. Check the memory of this machine.");
}

/// Archivers compress differently, and the bytes after the records may differ: so the digest covers
/// the meaningful WAL only.
std::string Uploader::digest_of_wal(const archive::SegmentFileName& file, io::Bytes& bytes,
                                    std::uint64_t records_end) const {
  crypto::Digest digest(crypto::Digest::Kind::sha256);
  std::uint64_t done = 0;
  archive::read_content(bytes, file.method, where_.archive.path_of(file.to_string()),
                        [&](std::span<const std::byte> wal) {
                          const auto count =
                              std::min<std::uint64_t>(wal.size(), records_end - done);
                          digest.add(wal.first(static_cast<std::size_t>(count)));
                          done += count;
                          return done < records_end;
                        });
  return crypto::to_hex(digest.finish());
}

Error Uploader::conflict(const archive::SegmentFileName& ours, const std::string& key,
                         const ObjectHead& head, const std::string& how) const {
  Error error(ErrorKind::conflict, "the store has different WAL under a segment's name: " + how);
  error.with("object", where_.store.name_of(key))
      .with("file", where_.archive.path_of(ours.to_string()));
  const auto cluster = head.metadata.find("pgweir-system-id");
  if (cluster != head.metadata.end() &&
      cluster->second != std::to_string(cluster_.system_identifier))
    error.with("system identifier there", cluster->second);
  return error.hint(
      "Both are kept, and no more WAL of this timeline is sent. Two clusters, or two branches of "
      "one, each need their own prefix (--store-name, or another prefix in --store).");
}

/// Compares by its metadata, since the object cannot be decrypted here.
Uploader::Found Uploader::compare_sealed(const archive::SegmentFileName& ours,
                                         const Checked& checked, const std::string& key) const {
  const auto head = where_.store.head(key);
  if (!head) return {};
  const auto told = [&](const char* name) { return told_of(head->metadata, name); };
  if (told("pgweir-system-id") != std::to_string(cluster_.system_identifier) ||
      told("pgweir-segment-size") != std::to_string(cluster_.segment_size.bytes()))
    throw conflict(ours, key, *head, "its metadata does not name this cluster");
  if (const auto padded = padded_from(*head)) {
    const auto start = ours.segment.start(cluster_.segment_size);
    const auto upto = std::min<std::uint64_t>(checked.records_end, *padded - start);
    if (!padded_is_ours(ours, upto, head->metadata))
      throw conflict(ours, key, *head, "it is padded, and its content differs");
    return {Same::padded, {}, key, head->etag};
  }
  // It cannot be decrypted here: its digests are taken from its metadata.
  Found found{Same::unknown, checked.wal, key, head->etag};
  auto& entry = found.entry;
  entry.kind = ManifestEntry::Kind::seen;
  entry.name = last_part(key);
  entry.size = head->size;
  if (is_manifest_hash(told("pgweir-sha256"))) entry.sha256 = told("pgweir-sha256");
  entry.md5 = head->md5;
  const auto by = comparing_key(where_.sealing, head->metadata);
  if (by.empty() || checked.digest.empty()) return found;
  const auto hmac = hmac_of_wal(by, ours.segment, checked.digest);
  if (told(kHmacMetadata) != hmac) throw conflict(ours, key, *head, "its content differs");
  if (const auto version = older_version(where_.store, key); !version.empty()) {
    const auto older = if_permitted([&] {
                         return where_.store.versions()->head(key, version);
                       }).value_or(std::nullopt);
    const auto by_older =
        older ? comparing_key(where_.sealing, older->metadata) : std::span<const std::byte>();
    if (by_older.empty()) return found;
    if (told_of(older->metadata, kHmacMetadata) !=
        hmac_of_wal(by_older, ours.segment, checked.digest))
      throw of_version(
          conflict(ours, key, *older, "its oldest version, which readers use, differs"), version);
  }
  found.same = Same::yes;
  entry.kind = ManifestEntry::Kind::same;
  entry.hmac = hmac;
  return found;
}

/// Whether this many bytes of ours match an encrypted padded object. It must not stay in the
/// complete segment's place: if it cannot be compared, manual intervention is required.
bool Uploader::padded_is_ours(const archive::SegmentFileName& ours, std::uint64_t bytes,
                              const Metadata& told) const {
  const auto by = comparing_key(where_.sealing, told);
  if (by.empty())
    throw Error(ErrorKind::conflict,
                "a padded segment is in the store and cannot be compared: it is encrypted, and "
                "the key that compares it is not available")
        .with("segment", ours.segment)
        .hint(
            "\"pgweir store publish-partial\" stored it. Push with the key of its archiver "
            "(--manifest-key, or .pgweir-store-key of its archive directory), or remove the "
            "object; then the complete segment is sent.");
  const auto file = where_.archive.open_bytes(ours.to_string());
  if (!file) throw system_error(ENOENT, "a segment was removed while it was compared");
  return hmac_of_wal(by, ours.segment, digest_of_wal(ours, *file, bytes)) ==
         told_of(told, kHmacMetadata);
}

Uploader::Found Uploader::is_same(const archive::SegmentFileName& ours, const Checked& checked,
                                  const archive::SegmentFileName& theirs) const {
  const auto key = where_.layout.key(theirs);
  const auto head = where_.store.head(key);
  if (!head) return compare_sealed(ours, checked, key + std::string(kAgeSuffix));
  // Use the store's digest. (It may tell none, as S3 if it encrypts by a key of its own: then the
  // bytes are compared.)
  Found found{Same::yes, checked.wal, key, head->etag};
  found.entry.kind = ManifestEntry::Kind::same;
  found.entry.name = last_part(key);
  found.entry.size = head->size;
  const auto differs = [&](const std::string& how) { return conflict(ours, key, *head, how); };
  const auto& size = cluster_.segment_size;
  const auto padded = padded_from(*head);
  const auto start = ours.segment.start(size);
  const auto upto =
      padded ? std::min<std::uint64_t>(checked.records_end, *padded - start) : checked.records_end;
  const auto most = size.bytes() + size.bytes() / 8 + 64 * 1024;
  const auto compare = [&](std::vector<std::byte> content, const std::string& which,
                           const std::string& version) {
    const auto fails = [&](const std::string& how) {
      auto error = differs(fmt::format("{} {}", which, how));
      return version.empty() ? error : of_version(std::move(error), version);
    };
    const auto name = where_.store.name_of(key);
    OneFileShelf shelf(name.substr(0, name.size() - theirs.to_string().size() - 1),
                       theirs.to_string(), std::move(content));
    std::optional<std::uint64_t> offset;
    try {
      offset = archive::first_difference(where_.archive, ours, shelf, theirs, size, upto);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      throw fails(fmt::format("is damaged ({})", error.message()));
    }
    if (offset) throw fails(fmt::format("differs from {} on", start + *offset));
  };
  // It may have been removed, and its former version stays below a marker.
  const auto compare_older = [&] {
    const auto version = older_version(where_.store, key);
    if (version.empty()) return;
    auto older = if_permitted([&] { return read_whole(where_.store, key, most, kOnce); });
    if (!older)
      found.same = Same::unknown;
    else if (*older)
      compare(std::move(**older), "its oldest version, which readers use,", version);
  };
  if (checked.sent_as == theirs && head->size == checked.content.bytes->size() &&
      head->md5 == checked.content.md5) {
    compare_older();
    found.entry.sha256 = checked.content.sha256;
    found.entry.md5 = checked.content.md5;
    return found;
  }

  if (head->size > most) throw differs(fmt::format("it has {} bytes", head->size));
  std::vector<std::byte> fetched;
  fetched.reserve(head->size);
  const bool there = where_.store.get(key, std::nullopt, [&](std::span<const std::byte> piece) {
    fetched.insert(fetched.end(), piece.begin(), piece.end());
    return fetched.size() <= most;
  });
  if (!there) return {};
  MemoryBytes whole(fetched);
  const auto digests = digests_of(whole);
  found.entry.size = fetched.size();
  found.entry.sha256 = digests.sha256;
  found.entry.md5 = digests.md5;
  compare(std::move(fetched), "it", "");
  if (padded)
    found.same = Same::padded;
  else
    compare_older();
  return found;
}

bool Uploader::is_padded(const archive::SegmentFileName& theirs) const {
  const auto key = where_.layout.key(theirs);
  auto head = where_.store.head(key);
  if (!head) head = where_.store.head(key + std::string(kAgeSuffix));
  return head && padded_from(*head);
}

Uploader::Result Uploader::segment(wal::SegmentName segment,
                                   const std::vector<archive::SegmentFileName>& there) const {
  for (int look = 0; look < kLooks; ++look) {
    const auto file = archive::find_finished(where_.archive, segment);
    if (!file) return {.what = Result::What::gone};
    const auto bytes = where_.archive.open_bytes(file->to_string());
    if (!bytes) continue;
    try {
      const auto checked = check(*file, *bytes);
      const auto was_there = [&](Found found) -> Result {
        return {.what = Result::What::was_there,
                .compared = found.same == Same::yes,
                .entry = std::move(found.entry)};
      };
      const auto stored = [&](const std::string& key) -> Result {
        auto entry = checked.wal;
        entry.name = last_part(key);
        entry.size = checked.content.bytes->size();
        entry.sha256 = checked.content.sha256;
        entry.md5 = checked.content.md5;
        entry.hmac = checked.hmac;
        const auto size = entry.size;
        return {.what = Result::What::stored, .bytes = size, .entry = std::move(entry)};
      };
      // Padded objects, ETags by key: the complete segment replaces them. Readers may prefer their
      // form: none may stay.
      std::map<std::string, std::string> padded;
      std::optional<Found> whole;
      for (const auto& theirs : there) {
        if (whole && !is_padded(theirs)) continue;
        auto found = is_same(*file, checked, theirs);
        if (found.same == Same::padded)
          padded.insert_or_assign(found.key, found.etag);
        else if (found.same != Same::gone)
          whole = std::move(found);
      }
      auto key = where_.layout.key(checked.sent_as);
      if (checked.sealed) key += kAgeSuffix;
      const auto remove_padded_but = [&](const std::string& complete) {
        for (const auto& [other, etag] : padded)
          if (other != complete) remove_padded(where_.store, other);
        if (!padded.empty()) remove_padded_record(where_.store, where_.layout, segment);
      };
      if (whole) {  // left by a previous attempt
        remove_padded_but(whole->key);
        return was_there(std::move(*whole));
      }
      const auto takes_its_place = [&]() -> Result {
        remove_padded_but(key);
        return stored(key);
      };
      const auto replace = [&](const std::string& etag) {
        return replace_padded(where_.store, key, checked.content, etag) == ObjectStore::Put::stored;
      };
      if (const auto ours = padded.find(key); ours != padded.end()) {
        if (replace(ours->second)) return takes_its_place();
        continue;  // another one is there by now
      }
      const auto compare = [&] {
        return checked.sealed ? compare_sealed(*file, checked, key)
                              : is_same(*file, checked, checked.sent_as);
      };
      if (put_once(where_.store, conditions_, key, checked.content) == ObjectStore::Put::stored) {
        if (!older_version(where_.store, key).empty()) static_cast<void>(compare());
        return takes_its_place();
      }
      // Ours, if the answer was lost, or another archiver's.
      auto found = compare();
      if (found.same == Same::padded) {
        padded.insert_or_assign(key, found.etag);
        if (replace(found.etag)) return takes_its_place();
      } else if (found.same != Same::gone) {
        remove_padded_but(key);
        return was_there(std::move(found));
      }
    } catch (const Error& error) {
      if (!archive::is_gone(error)) throw;  // compressed meanwhile
    }
  }
  throw Error(ErrorKind::retry, "a segment and its object in the store keep changing")
      .with("segment", segment)
      .hint("Another process removes objects or files at the same time.");
}

Uploader::Result Uploader::history(wal::TimelineId timeline) const {
  const auto text = archive::read_history(where_.archive, timeline);
  if (!text) return {.what = Result::What::gone};
  const auto ours = wal::TimelineHistory::parse(timeline, *text);
  const auto path = where_.archive.path_of(wal::history_name(timeline));
  if (!ours)
    throw Error(ErrorKind::damage, "a history file to be uploaded cannot be read")
        .with("path", path)
        .hint("Copy it from a server's pg_wal or from another archive.");
  const auto bytes = std::as_bytes(std::span(*text));
  MemoryBytes content(bytes);
  const auto digests = digests_of(content);
  const auto key = where_.layout.history_key(timeline);
  const auto entry_of = [&](ManifestEntry::Kind kind, std::span<const std::byte> stored) {
    MemoryBytes whole(stored);
    const auto told = digests_of(whole);
    return ManifestEntry{.kind = kind,
                         .name = last_part(key),
                         .size = stored.size(),
                         .sha256 = told.sha256,
                         .md5 = told.md5,
                         .system_identifier = cluster_.system_identifier};
  };
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 20;
  const auto require_same = [&](const std::string& held, const std::string& version) {
    if (held == *text || wal::TimelineHistory::parse(timeline, held) == ours) return;
    Error error(ErrorKind::conflict,
                version.empty() ? "the store has another history of a timeline"
                                : "the version of a history which readers use is another one");
    error.with("object", where_.store.name_of(key))
        .with("file", path)
        .hint(
            "Two servers were promoted to the same timeline. Find out which one the store follows, "
            "and give the other one its own prefix (--store-name, or another prefix in --store).");
    throw version.empty() ? error : of_version(std::move(error), version);
  };
  const Content sent{&content, digests.sha256, digests.md5, metadata_of(cluster_, digests.sha256),
                     true};
  const bool is_new = put_once(where_.store, conditions_, key, sent) == ObjectStore::Put::stored;
  const auto held = is_new ? text : get_text(where_.store, key, kLargest);
  if (!held)
    throw Error(ErrorKind::retry, "a timeline history in the store was removed during the check")
        .with("object", where_.store.name_of(key));
  require_same(*held, "");
  bool compared = true;
  if (const auto version = older_version(where_.store, key); !version.empty()) {
    const auto older = if_permitted([&] { return read_whole(where_.store, key, kLargest, kOnce); });
    compared = older.has_value();
    if (older && *older)
      require_same({reinterpret_cast<const char*>((*older)->data()), (*older)->size()}, version);
  }
  if (is_new)
    return {.what = Result::What::stored,
            .bytes = bytes.size(),
            .entry = entry_of(ManifestEntry::Kind::put, bytes)};
  return {.what = Result::What::was_there,
          .compared = compared,
          .entry = entry_of(ManifestEntry::Kind::same, std::as_bytes(std::span(*held)))};
}

}  // namespace weir::store
