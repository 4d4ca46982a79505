#include "store/sealed/rewrap.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "crypto/digest.h"
#include "crypto/primitives.h"
#include "store/ledger/manifest_chain.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_writer.h"
#include "store/memory_bytes.h"
#include "store/sealed/age_file.h"
#include "store/sealed/age_header.h"
#include "store/send/padded.h"
#include "store/shelf/object_bytes.h"
#include "store/write_once.h"

namespace weir::store {

namespace {

using Kind = ManifestEntry::Kind;

/// Objects in memory at once; they share one put of the manifest.
constexpr std::size_t kAtOnce = 4;
/// Metadata that identify the recipients without revealing them.
constexpr const char* kFor = "pgweir-recipients";

/// The same for the same recipients in any order.
std::string name_of(std::vector<AgeRecipient> recipients) {
  std::sort(recipients.begin(), recipients.end(),
            [](const auto& one, const auto& other) { return one.point < other.point; });
  std::vector<std::byte> all;
  for (const auto& each : recipients) all.insert(all.end(), each.point.begin(), each.point.end());
  const auto sum = crypto::sha256(all);
  return crypto::to_hex(std::span(sum).first(8));
}

class Rewrap {
 public:
  Rewrap(ObjectStore& store, const Layout& layout, const RewrapOptions& options, Log& log)
      : store_(store),
        layout_(layout),
        options_(options),
        for_(name_of(options.recipients)),
        writer_(store, layout, options.key, log) {}

  RewrapResult run() {
    chains_ = read_manifests(store_, layout_, proofs_of(options_.key, options_.former),
                             options_.patience);
    require_key();
    // Their new lines are signed: lines that no key proves may be anybody's.
    told_ = told_objects(chains_, options_.key != nullptr);
    insist(options_.patience, [&] {
      writer_.start_with_store(std::string(kRewrapChain));
      return true;
    });
    for (const auto& [name, object] : list_stored(store_, layout_, options_.patience)) {
      if (!name.ends_with(kAgeSuffix)) continue;
      if (options_.stop && options_.stop()) {
        result_.stopped = true;
        break;
      }
      look_at(name, object);
      if (ready_.size() == kAtOnce) put();
    }
    put();
    return std::move(result_);
  }

 private:
  struct Ready {
    std::string name;
    std::string key;
    std::string etag{};  ///< of the object to replace
    std::vector<std::byte> bytes{};
    Metadata metadata{};
    ManifestEntry entry{};
  };

  void require_key() const {
    const bool is_signed = std::any_of(chains_.begin(), chains_.end(),
                                       [](const auto& chain) { return chain.signed_by; });
    if (is_signed && !options_.key)
      throw Error(ErrorKind::usage, "the manifest of the store is signed: rewrapping needs its key")
          .hint("Nothing was changed. Give --manifest-key FILE.");
  }

  void leave(const std::string& name, std::string why) {
    result_.left.push_back({name, std::move(why)});
  }

  /// The line with this digest, if possible of an object that was compared; nullptr: none.
  [[nodiscard]] const ManifestEntry* line_of(const std::string& name,
                                             const std::string& sha256) const {
    const auto lines = told_.find(name);
    if (lines == told_.end()) return nullptr;
    const ManifestEntry* found = nullptr;
    for (const auto* const line : lines->second)
      if (line->sha256 == sha256 && (found == nullptr || found->kind == Kind::seen)) found = line;
    return found;
  }

  void look_at(const std::string& name, const ObjectEntry& object) {
    const auto& key = object.key;
    const auto head = insist(options_.patience, [&] { return store_.head(key); });
    if (!head) return;  // pruned
    const auto versions = insist(options_.patience, [&] { return versions_of(store_, key); });
    const auto theirs = head->metadata.find(kFor);
    if (theirs != head->metadata.end() && theirs->second == for_) {
      // A previous run may have ended before it removed the old version.
      if (versions.size() > 1) {
        const auto sha256 = head->metadata.find("pgweir-sha256");
        if (sha256 == head->metadata.end() || line_of(name, sha256->second) == nullptr)
          return leave(name, "it has several versions that are not listed in the manifest");
        remove_older(name, key, versions);
      }
      ++result_.were_so;
      return;
    }
    if (head->locked) return leave(name, "it is locked");
    if (versions.size() > 1) return leave(name, "it has several versions");
    auto bytes = insist(options_.patience, [&] {
      std::vector<std::byte> whole;
      const bool there = store_.get(key, std::nullopt, [&](std::span<const std::byte> piece) {
        whole.insert(whole.end(), piece.begin(), piece.end());
        return whole.size() <= kLargestFile;
      });
      return there ? std::optional(std::move(whole)) : std::nullopt;
    });
    if (!bytes) return;
    const auto* const line = line_of(name, crypto::digest_of(crypto::Digest::Kind::sha256, *bytes));
    if (line == nullptr && !chains_.empty())
      return leave(name, told_.contains(name) ? "it does not match the manifest"
                         : options_.key       ? "it is not listed in a manifest that the key proves"
                                              : "it is not listed in the manifest");
    try {
      auto ready = rewrapped(name, *bytes);
      ready.key = key;
      ready.etag = head->etag;
      ready.metadata = head->metadata;
      ready.entry = line != nullptr ? *line : ManifestEntry{.name = name};
      ready_.push_back(std::move(ready));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      leave(name, error.message());
    }
  }

  [[nodiscard]] Ready rewrapped(const std::string& name, std::span<const std::byte> bytes) const {
    // Read to its end: a damaged object must not be passed on as valid.
    AgeOpened opened(std::make_unique<MemoryBytes>(bytes), options_.identities, name);
    std::vector<std::byte> buffer(1 << 20);
    for (std::uint64_t at = 0; at < opened.size(); at += buffer.size())
      static_cast<void>(opened.read_at(at, buffer));
    auto header = open_age_header({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                  options_.identities, name);
    const auto text = age_header(header.file_key, options_.recipients);
    crypto::wipe(header.file_key);
    Ready ready{.name = name, .key = {}};
    const auto front = std::as_bytes(std::span(text));
    ready.bytes.assign(front.begin(), front.end());
    const auto payload = bytes.subspan(header.size);
    ready.bytes.insert(ready.bytes.end(), payload.begin(), payload.end());
    return ready;
  }

  void put() {
    if (ready_.empty()) return;
    for (auto& each : ready_) {
      // An object that was only seen was never compared with the WAL of an archive, and a padded
      // one counts only until the complete segment is there.
      if (each.entry.kind != Kind::seen && each.entry.kind != Kind::padded)
        each.entry.kind = Kind::rewrapped;
      each.entry.size = each.bytes.size();
      each.entry.sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, each.bytes);
      each.entry.md5 = crypto::digest_of(crypto::Digest::Kind::md5, each.bytes);
      each.metadata["pgweir-sha256"] = each.entry.sha256;
      each.metadata[kFor] = for_;
      if (!chains_.empty()) writer_.append(each.entry);
    }
    insist(options_.patience, [&] {
      writer_.put();
      return true;
    });
    for (auto& each : std::exchange(ready_, {})) {
      MemoryBytes bytes(each.bytes);
      // The complete segment will replace a padded one.
      const bool is_padded = each.metadata.contains(kPaddedMetadata);
      const Content content{&bytes, each.entry.sha256, each.entry.md5, each.metadata, !is_padded};
      const auto done =
          insist(options_.patience, [&] { return put_over(store_, each.key, content, each.etag); });
      if (done == ObjectStore::Put::taken) {
        // Replaced meanwhile, possibly by ourselves: an answer was lost.
        const auto head = insist(options_.patience, [&] { return store_.head(each.key); });
        if (!head || head->metadata != each.metadata) {
          leave(each.name, "another process has changed it meanwhile");
          continue;
        }
      }
      const auto versions =
          insist(options_.patience, [&] { return versions_of(store_, each.key); });
      if (versions.size() > 1) remove_older(each.name, each.key, versions);
      ++result_.rewrapped;
    }
  }

  void remove_older(const std::string& name, const std::string& key,
                    const std::vector<std::string>& versions) {
    const auto older = std::span(versions).subspan(1);
    const auto kept =
        insist(options_.patience, [&] { return store_.versions()->remove(key, older); });
    if (!kept.empty()) leave(name, "its previous version is locked, and is kept");
  }

  ObjectStore& store_;
  const Layout& layout_;
  const RewrapOptions& options_;
  const std::string for_;
  ManifestWriter writer_;
  std::vector<ManifestChain> chains_{};
  ToldObjects told_{};
  std::vector<Ready> ready_{};
  RewrapResult result_{};
};

}  // namespace

RewrapResult rewrap(ObjectStore& store, const Layout& layout, const RewrapOptions& options,
                    Log& log) {
  return Rewrap(store, layout, options, log).run();
}

}  // namespace weir::store
