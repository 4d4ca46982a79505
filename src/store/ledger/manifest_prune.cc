#include "store/ledger/manifest_prune.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>

#include "archive/published_open.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_report.h"
#include "store/listing.h"
#include "store/shelf/open_object.h"

namespace weir::store {

namespace {

using Kind = ManifestEntry::Kind;

/// Number of the chain's objects, from its first one on, that only have entries of removed files
/// and of histories. The last object is always kept.
std::size_t needless_at_front(const ManifestChain& chain, wal::SegmentName begin) {
  const auto objects = (chain.lines.size() + kManifestLines - 1) / kManifestLines;
  for (std::size_t i = 0; i < chain.lines.size(); ++i) {
    const auto segment = segment_of_object(chain.lines[i].entry.name);
    if (segment && place_of(*segment) >= place_of(begin)) return i / kManifestLines;
  }
  return objects == 0 ? 0 : objects - 1;
}

}  // namespace

std::vector<ManifestEntry> prune_lines(std::span<const ManifestChain> chains,
                                       wal::SegmentName begin, std::uint64_t system_identifier,
                                       bool keys_given) {
  std::vector<ManifestEntry> lines;
  for (const auto& chain : chains) {
    if (is_prune_chain(chain.id) || !chain.broken.empty() || (keys_given && !chain.proved))
      continue;
    const auto objects = needless_at_front(chain, begin);
    if (objects == 0) continue;
    const auto end = objects * kManifestLines;
    // The newest line of each history, unless a later line of the chain has it.
    for (std::size_t i = 0; i < end; ++i) {
      const auto& entry = chain.lines[i].entry;
      if (!wal::parse_history_name(entry.name)) continue;
      const bool again =
          std::any_of(chain.lines.begin() + static_cast<std::ptrdiff_t>(i) + 1, chain.lines.end(),
                      [&](const ManifestLine& line) { return line.entry.name == entry.name; });
      if (!again) lines.push_back(entry);
    }
    lines.push_back({.kind = Kind::cut,
                     .size = (chain.cut ? chain.cut->number : 0) + objects,
                     .system_identifier = system_identifier,
                     .chain = chain.id,
                     .after = chain.hashes[end - 1]});
  }
  for (const auto& chain : chains)
    if (!is_prune_chain(chain.id))
      lines.push_back({.kind = Kind::begin,
                       .name = begin.to_string(),
                       .system_identifier = system_identifier,
                       .chain = chain.id,
                       .after = chain.head()});
  return lines;
}

std::set<wal::SegmentName> told_before(std::span<const ManifestChain> chains,
                                       wal::SegmentName begin, bool keys_given) {
  const auto pruned = recorded_begins(chains, keys_given);
  std::set<wal::SegmentName> told;
  for (const auto& chain : chains)
    for (const auto& line : chain.lines) {
      if (line.entry.kind == Kind::begin) continue;
      const auto segment = segment_of_object(line.entry.name);
      if (segment && place_of(*segment) < place_of(begin) && !is_pruned(*segment, pruned))
        told.insert(*segment);
    }
  return told;
}

std::vector<std::string> needless_objects(ObjectStore& store, const Layout& layout,
                                          wal::SegmentName begin,
                                          std::span<const SignifyPublic> keys,
                                          const Patience& patience) {
  std::vector<std::string> needless;
  const auto list = [&](const std::string& prefix, const auto& is_needless) {
    for_each_object(store, prefix, patience, [&](const ObjectEntry& object) {
      if (is_needless(object.key)) needless.push_back(object.key);
    });
  };
  list(OpenObject::prefix(layout), [&](const std::string& key) {
    const auto object = OpenObject::parse(layout, key);
    return object && place_of(object->segment) < place_of(begin);
  });
  list(layout.records_prefix(), [&](const std::string& key) {
    const auto name = layout.file_of(key);
    const auto segment = name ? archive::parse_published_open_name(*name) : std::nullopt;
    return segment && place_of(*segment) < place_of(begin);
  });
  const auto prunes = read_prunes(store, layout, keys, patience);
  if (prunes.empty()) return needless;
  list(manifest_prefix(layout), [&](const std::string& key) {
    const auto place = parse_manifest_key(layout, key);
    const auto cut = place ? cut_of(prunes, place->chain, !keys.empty()) : std::nullopt;
    return cut && place->number < cut->number;
  });
  return needless;
}

}  // namespace weir::store
