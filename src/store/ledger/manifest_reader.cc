#include "store/ledger/manifest_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "archive/listing.h"
#include "base/for_each_index.h"
#include "crypto/digest.h"
#include "store/listing.h"

namespace weir::store {

namespace {

/// Numbers of each chain's objects, in order.
using Numbers = std::map<std::string, std::vector<std::uint64_t>>;

Numbers list_manifests(ObjectStore& store, const Layout& layout, const std::string& prefix,
                       const Patience& patience) {
  Numbers numbers;
  for_each_object(store, prefix, patience, [&](const ObjectEntry& object) {
    if (const auto place = parse_manifest_key(layout, object.key))
      numbers[place->chain].push_back(place->number);
  });
  for (auto& [id, each] : numbers) std::sort(each.begin(), each.end());
  return numbers;
}

ManifestChain read_chain(ObjectStore& store, const Layout& layout, const std::string& id,
                         std::span<const std::uint64_t> numbers, std::optional<ManifestCut> cut,
                         std::span<const SignifyPublic> keys, const Patience& patience) {
  ManifestChainReader reader(id, keys, std::move(cut));
  for (const auto number : numbers) {
    const auto key = manifest_key(layout, id, number);
    const auto content = insist(patience, [&] { return get_text(store, key, kLargestManifest); });
    if (content) reader.take(number, *content, store.name_of(key));
  }
  return reader.finish();
}

std::vector<ManifestChain> chains_of_prunes(ObjectStore& store, const Layout& layout,
                                            const Numbers& numbers,
                                            std::span<const SignifyPublic> keys,
                                            const Patience& patience) {
  std::vector<ManifestChain> chains;
  for (const auto& [id, each] : numbers)
    if (is_prune_chain(id))
      chains.push_back(read_chain(store, layout, id, each, std::nullopt, keys, patience));
  return chains;
}

}  // namespace

std::vector<ManifestChain> read_manifests(ObjectStore& store, const Layout& layout,
                                          std::span<const SignifyPublic> keys,
                                          const Patience& patience) {
  const auto numbers = list_manifests(store, layout, manifest_prefix(layout), patience);
  // Those chains first: they say where the others start. If keys are given, only what they prove.
  const auto prunes = chains_of_prunes(store, layout, numbers, keys, patience);
  auto chains = prunes;
  for (const auto& [id, each] : numbers)
    if (!is_prune_chain(id))
      chains.push_back(
          read_chain(store, layout, id, each, cut_of(prunes, id, !keys.empty()), keys, patience));
  std::sort(chains.begin(), chains.end(),
            [](const ManifestChain& one, const ManifestChain& other) { return one.id < other.id; });
  return chains;
}

std::vector<ManifestChain> read_prunes(ObjectStore& store, const Layout& layout,
                                       std::span<const SignifyPublic> keys,
                                       const Patience& patience) {
  const auto numbers =
      list_manifests(store, layout, manifest_prefix(layout) + std::string(kPruneChain), patience);
  return chains_of_prunes(store, layout, numbers, keys, patience);
}

std::vector<wal::SegmentName> read_begins(ObjectStore& store, const Layout& layout,
                                          std::span<const SignifyPublic> keys,
                                          const Patience& patience) {
  return recorded_begins(read_prunes(store, layout, keys, patience), !keys.empty());
}

std::vector<ManifestEntry> read_last_lines(ObjectStore& store, const Layout& layout,
                                           std::span<const SignifyPublic> keys,
                                           const Patience& patience) {
  using Kind = ManifestEntry::Kind;
  std::vector<ManifestEntry> last;
  for (const auto& [id, numbers] :
       list_manifests(store, layout, manifest_prefix(layout), patience)) {
    // A prune's chain has no entries of stored segments; those of rewraps have lines in the chains
    // of their archivers, too, which may be of a key that is not given.
    bool told = is_prune_chain(id) || (is_rewrap_chain(id) && keys.empty());
    for (auto number = numbers.rbegin(); number != numbers.rend(); ++number) {
      // Each object is signed separately.
      const auto chain = read_chain(store, layout, id, std::span(&*number, 1),
                                    ManifestCut{.number = *number}, keys, patience);
      for (const auto& line : chain.believed(!keys.empty())) {
        const auto& entry = line.entry;
        if (entry.kind == Kind::begin || entry.kind == Kind::cut) continue;
        last.push_back(entry);
        told = told || (entry.kind != Kind::rewrapped && segment_of_object(entry.name));
      }
      if (told) break;
    }
  }
  return last;
}

StoredObjects list_stored(ObjectStore& store, const Layout& layout, const Patience& patience) {
  StoredObjects objects;
  for_each_object(store, layout.wal_prefix(), patience, [&](const ObjectEntry& object) {
    const auto name = layout.file_of(object.key);
    if (!name) return;
    const auto file = archive::SegmentFileName::parse(*name);
    if (file ? !file->partial : wal::parse_history_name(*name).has_value())
      objects.emplace(object.key.substr(object.key.rfind('/') + 1), object);
  });
  return objects;
}

namespace {

/// Empty if it is gone.
std::string sha256_of(ObjectStore& store, const std::string& key, const Patience& patience) {
  return insist(patience, [&]() -> std::string {
    crypto::Digest digest(crypto::Digest::Kind::sha256);
    const bool there = store.get(key, std::nullopt, [&](auto piece) {
      digest.add(piece);
      return true;
    });
    return there ? crypto::to_hex(digest.finish()) : std::string();
  });
}

}  // namespace

bool compare_deeply(ObjectStore& store, const Patience& patience, const StoredObjects& objects,
                    const ToldObjects& told, const ReadDigests& read, std::size_t jobs,
                    ManifestReport& report, const std::function<bool()>& stop) {
  struct Compared {
    const std::string& name;
    const std::string& key;
    const std::vector<const ManifestEntry*>& lines;
    std::string sha256{};
  };
  std::vector<Compared> all;
  for (const auto& [name, lines] : told) {
    const auto object = objects.find(name);
    if (object == objects.end() || !has_sha256(lines)) continue;
    const auto& key = object->second.key;
    // What readers read may be an older version than the listed one.
    const auto known = fit_of(object->second, lines).same ? read.find(key) : read.end();
    all.push_back({name, key, lines, known == read.end() ? std::string() : known->second});
  }

  const bool whole = for_each_index(all.size(), jobs, [&](std::size_t i) {
    if (!all[i].sha256.empty()) return true;
    if (stop && stop()) return false;
    all[i].sha256 = sha256_of(store, all[i].key, patience);
    return true;
  });
  if (!whole) return false;
  for (const auto& each : all)
    if (!each.sha256.empty() &&  // else it was removed since the listing, as by a prune
        std::none_of(each.lines.begin(), each.lines.end(),
                     [&](const ManifestEntry* line) { return line->sha256 == each.sha256; }))
      report.findings.push_back(
          fmt::format("{} does not match the manifest: its SHA-256 is {}, expected {}", each.name,
                      each.sha256, each.lines.back()->sha256));
  return true;
}

}  // namespace weir::store
