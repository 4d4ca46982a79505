#include "store/send/publish_open.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>

#include "archive/content.h"
#include "base/error.h"
#include "crypto/digest.h"
#include "store/digests.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_writer.h"
#include "store/listing.h"
#include "store/memory_bytes.h"
#include "store/sealed/age_file.h"
#include "store/send/padded.h"

namespace weir::store {

namespace {

/// The chain of published segments, or of those with a key: the publishing process is not the
/// archiver, and cannot wait for its lock.
constexpr const char* kPublishedChain = "published";

std::vector<std::byte> packed(codec::Compression form, std::span<const std::byte> wal) {
  if (form.method == codec::Method::none) return {wal.begin(), wal.end()};
  std::vector<std::byte> out;
  const auto take = [&](std::span<const std::byte> piece) {
    out.insert(out.end(), piece.begin(), piece.end());
  };
  const auto compressor = codec::make_compressor(form, wal.size());
  compressor->feed(wal, take);
  compressor->finish(take);
  return out;
}

Error conflict(ObjectStore& store, const std::string& key, const PaddedSegment& padded,
               std::string_view how) {
  return Error(ErrorKind::conflict,
               fmt::format("the store has different WAL under the partial segment's name: {}", how))
      .with("object", store.name_of(key))
      .with("segment", padded.segment)
      .with("local WAL up to", padded.end)
      .hint(
          "Nothing was changed. Either a server continued this segment and another archiver sent "
          "it, or two clusters share this prefix. Compare both before a recovery.");
}

Error stored_meanwhile(ObjectStore& store, const std::string& key) {
  return Error(ErrorKind::retry, "another process has stored this segment at the same time")
      .with("object", store.name_of(key))
      .hint("Run the command again: it compares both.");
}

ManifestEntry entry_of(const PaddedSegment& padded, const archive::Identity& cluster,
                       const std::string& key) {
  return {.kind = ManifestEntry::Kind::padded,
          .name = key.substr(key.rfind('/') + 1),
          .first = padded.first,
          .last = padded.end,
          .commit = padded.commit,
          .system_identifier = cluster.system_identifier};
}

/// Returns true if the object starts with our WAL, as far as both extend; nullopt: it is gone.
/// `entry` is set to its entry.
std::optional<bool> agrees(ObjectStore& store, const std::string& key,
                           const archive::SegmentFileName& form, const PaddedSegment& padded,
                           std::uint64_t upto, ManifestEntry& entry) {
  const auto most = padded.wal.size() + padded.wal.size() / 8 + 64 * 1024;
  std::vector<std::byte> fetched;
  if (!store.get(key, std::nullopt, [&](std::span<const std::byte> piece) {
        fetched.insert(fetched.end(), piece.begin(), piece.end());
        return fetched.size() <= most;
      }))
    return std::nullopt;
  if (fetched.size() > most) return false;
  MemoryBytes bytes(fetched);
  const auto digests = digests_of(bytes);
  entry.size = fetched.size();
  entry.sha256 = digests.sha256;
  entry.md5 = digests.md5;
  std::uint64_t at = 0;
  bool same = true;
  archive::read_content(bytes, form.method, store.name_of(key),
                        [&](std::span<const std::byte> piece) {
                          const auto count = std::min<std::uint64_t>(piece.size(), upto - at);
                          const auto ours = std::span(padded.wal).subspan(at, count);
                          same = same && std::equal(ours.begin(), ours.end(), piece.begin());
                          at += count;
                          return same && at < upto;
                        });
  return same && at == upto;
}

/// HMAC of the WAL up to there, comparable with an encrypted object's metadata.
std::string hmac_of_front(const PaddedSegment& padded, std::uint64_t upto,
                          std::span<const std::byte> compare_key) {
  const auto front = std::span(padded.wal).first(static_cast<std::size_t>(upto));
  return hmac_of_wal(compare_key, padded.segment,
                     crypto::digest_of(crypto::Digest::Kind::sha256, front));
}

/// An existing object of the segment, and its relation to ours.
struct There {
  std::optional<wal::Lsn> end;  ///< it is padded from there on; nullopt: it is the complete segment
  std::string etag{};
  bool compared = true;
  ManifestEntry entry{};
};

There look_at(const PublishTo& to, const StoredForm& theirs, const PaddedSegment& padded) {
  const auto& key = theirs.key;
  const auto head = to.store.head(key);
  if (!head) throw conflict(to.store, key, padded, "it was removed during the check");
  const auto start = padded.segment.start(to.cluster.segment_size);
  There there{
      .end = padded_from(*head), .etag = head->etag, .entry = entry_of(padded, to.cluster, key)};
  if (there.end) there.entry.last = *there.end;
  const auto upto = (there.end ? std::min(*there.end, padded.end) : padded.end) - start;
  if (!key.ends_with(kAgeSuffix)) {
    const auto same = agrees(to.store, key, theirs.file, padded, upto, there.entry);
    if (!same) throw conflict(to.store, key, padded, "it was removed during the check");
    if (!*same) throw conflict(to.store, key, padded, "its content differs");
    return there;
  }
  const auto told = [&](const char* name) { return told_of(head->metadata, name); };
  if (told("pgweir-system-id") != std::to_string(to.cluster.system_identifier))
    throw conflict(to.store, key, padded, "its metadata does not name this cluster");
  there.entry.size = head->size;
  if (is_manifest_hash(told("pgweir-sha256"))) there.entry.sha256 = told("pgweir-sha256");
  there.entry.hmac = told(kHmacMetadata);
  // Its HMAC covers all of its WAL: if that is more than ours, it cannot be compared.
  there.compared = there.end && *there.end <= padded.end;
  if (!there.compared) return there;
  const auto by = comparing_key(to.sealing, head->metadata);
  if (by.empty())
    throw conflict(to.store, key, padded,
                   "it is encrypted, and the key that compares it is not available");
  if (hmac_of_front(padded, upto, by) != told(kHmacMetadata))
    throw conflict(to.store, key, padded, "its content differs");
  return there;
}

}  // namespace

std::optional<wal::SegmentName> open_segment(const archive::Listing& listing,
                                             wal::SegmentSize size) {
  std::optional<wal::SegmentName> open;
  std::optional<wal::SegmentName> finished;
  for (const auto& entry : listing.segments) {
    if (!entry.name.segment.fits(size)) continue;
    auto& newest = entry.name.partial ? open : finished;
    if (!newest || *newest < entry.name.segment) newest = entry.name.segment;
  }
  return open && (!finished || *finished < *open) ? open : std::nullopt;
}

void require_what_is_before(ObjectStore& store, const Layout& layout, wal::SegmentName segment,
                            wal::SegmentSize size, const archive::Timelines& timelines,
                            const archive::Listing& listing) {
  const auto lacks = [&](const std::string& what) {
    return Error(ErrorKind::retry,
                 "the store lacks a file that precedes the partial segment: " + what)
        .with("segment", segment)
        .hint("Send it first: run \"pgweir store push\", or let the receiver do it.");
  };
  const auto timeline = segment.timeline();
  if (timeline > 1 && !store.head(layout.history_key(timeline)))
    throw lacks(wal::history_name(timeline));
  const auto segno = segment.segno(size);
  const bool first = !listing.segments.empty() && listing.segments.front().name.segment == segment;
  if (first || segno == 0) return;
  std::vector<wal::TimelineId> ways{timeline};
  if (const auto history = timelines.history(timeline))
    for (const auto& ancestor : history->ancestors()) ways.push_back(ancestor.timeline);
  const bool there = std::any_of(ways.begin(), ways.end(), [&](wal::TimelineId way) {
    return !forms_of(store, layout, wal::SegmentName(way, segno - 1, size)).empty();
  });
  if (there) return;
  // A receiver that was killed, or a power loss, has left two partial files.
  for (const auto& entry : listing.segments)
    if (entry.name.partial && entry.name.segment.fits(size) &&
        entry.name.segment.segno(size) == segno - 1)
      throw lacks(entry.name.segment.to_string())
          .hint(fmt::format(
              "The archive has it as {}, which a receiver renames when it streams again. Without a "
              "server, add it yourself: copy the file to another directory as {}, run \"pgweir "
              "import --extend\" with that copy, which verifies it, and then \"pgweir store "
              "push\".",
              entry.name.to_string(), entry.name.segment));
  throw lacks(wal::SegmentName(timeline, segno - 1, size).to_string());
}

Publication publish_open(const PublishTo& to, const PaddedSegment& padded,
                         archive::PublishedOpen record,
                         const std::function<void(const archive::PublishedOpen&)>& keep) {
  auto& store = to.store;
  std::map<std::string, std::string> shorter;  // padded ones that ours replaces: ETags by key
  std::optional<Publication> already;
  for (const auto& theirs : forms_of(store, to.layout, padded.segment)) {
    auto there = look_at(to, theirs, padded);
    const auto name = store.name_of(theirs.key);
    if (!there.end)
      already = Publication{Publication::What::true_there, name, there.compared, {}};
    else if (*there.end < padded.end)
      shorter.insert_or_assign(theirs.key, there.etag);
    else if (!already)
      already =
          Publication{Publication::What::was_there, name, there.compared, std::move(there.entry)};
  }
  // Readers may prefer their form. (They were left by a previous attempt.)
  const auto remove_shorter_but = [&](const std::string& ours) {
    for (const auto& [other, etag] : shorter) {
      if (other == ours) continue;
      // It may be the complete segment by now.
      if (const auto there = store.head(other); there && there->etag != etag)
        throw stored_meanwhile(store, other);
      remove_padded(store, other);
    }
  };
  if (already) {
    remove_shorter_but("");
    return std::move(*already);
  }

  const auto bytes = packed(to.form, padded.wal);
  MemoryBytes plain(bytes);
  io::Bytes* sent = &plain;
  std::optional<AgeSealed> sealed;
  auto key = to.layout.key({.segment = padded.segment, .method = to.form.method});
  if (!to.sealing.recipients.empty()) {
    sent = &sealed.emplace(plain, to.sealing.recipients);
    key += kAgeSuffix;
  }
  auto object = content_of(*sent);
  object.metadata = {{"pgweir-system-id", std::to_string(to.cluster.system_identifier)},
                     {"pgweir-segment-size", std::to_string(to.cluster.segment_size.bytes())},
                     {"pgweir-sha256", object.sha256},
                     {kPaddedMetadata, padded.end.to_string()}};
  auto entry = entry_of(padded, to.cluster, key);
  entry.size = sent->size();
  entry.sha256 = object.sha256;
  entry.md5 = object.md5;
  if (sealed) {
    add_sealed_metadata(object.metadata, plain.size());
    if (const auto& compare_key = to.sealing.compare_key; !compare_key.empty()) {
      const auto upto = padded.end - padded.segment.start(to.cluster.segment_size);
      entry.hmac = hmac_of_front(padded, upto, compare_key);
      add_hmac_metadata(object.metadata, compare_key, entry.hmac);
    }
  }
  record.segment = padded.segment;
  record.end = padded.end;
  record.object = store.name_of(key);
  keep(record);
  const auto text = archive::published_open_record(record);
  MemoryBytes note(std::as_bytes(std::span(text)));
  const auto record_key = to.layout.key_of(archive::published_open_name(padded.segment));
  store.put(*record_key, content_of(note));

  const auto done = [&](Publication::What what) -> Publication {
    return {what, store.name_of(key), true, std::move(entry)};
  };
  const auto same = shorter.find(key);
  const auto put = same != shorter.end() ? replace_padded(store, key, object, same->second)
                                         : put_once(store, to.conditions, key, object);
  if (put == ObjectStore::Put::taken) throw stored_meanwhile(store, key);
  // Afterwards: a reader always finds one of them.
  remove_shorter_but(key);
  return done(shorter.empty() ? Publication::What::stored : Publication::What::extended);
}

bool tell_published(ObjectStore& store, const Layout& layout, const ManifestEntry& entry,
                    std::shared_ptr<const SignifyKey> key, const Patience& patience, Log& log) {
  const auto chains = read_manifests(store, layout, proofs_of(key), patience);
  for (const auto& chain : chains) {
    const auto lines = chain.believed(key != nullptr);
    const auto told = std::find_if(lines.rbegin(), lines.rend(), [&](const ManifestLine& line) {
      return line.entry.name == entry.name;
    });
    if (told != lines.rend() && told->entry.sha256 == entry.sha256 &&
        told->entry.size == entry.size)
      return true;
  }
  const bool is_signed =
      std::any_of(chains.begin(), chains.end(), [](const auto& chain) { return chain.signed_by; });
  if (is_signed && !key) return false;
  ManifestWriter writer(store, layout, std::move(key), log);
  insist(patience, [&] {
    writer.start_with_store(kPublishedChain);
    return true;
  });
  writer.append(entry);
  insist(patience, [&] {
    writer.put();
    return true;
  });
  return true;
}

}  // namespace weir::store
