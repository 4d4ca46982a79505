#include "prune/record_prune.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <utility>

#include "base/error.h"
#include "store/cluster_record.h"
#include "store/ledger/manifest_prune.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_writer.h"
#include "store/listing.h"

namespace weir::prune {

std::optional<PruneRecord> record_prune(store::ObjectStore& store, const store::Layout& layout,
                                        const Plan& plan,
                                        const std::shared_ptr<const store::SignifyKey>& key,
                                        std::span<const store::SignifyPublic> former,
                                        const store::Patience& patience, Log& log, bool dry_run) {
  auto begin = wal::SegmentName::parse(plan.keep_from);
  if (plan.files == 0 && !begin) return std::nullopt;
  const auto chains = store::read_manifests(store, layout, store::proofs_of(key, former), patience);
  const auto cluster = insist(patience, [&] { return store::read_cluster(store, layout); });
  if (chains.empty() || (!cluster && plan.files == 0)) return std::nullopt;
  if (!cluster)
    throw Error(ErrorKind::refused, "the store has a manifest, but no record of its cluster")
        .with("object", store.name_of(store::key_of_cluster(layout)))
        .hint(
            "Nothing was removed: it could not be recorded, and would be reported as lost. A "
            "receiver that uploads to this store writes the record again when it starts.");
  const bool is_signed =
      std::any_of(chains.begin(), chains.end(), [](const auto& chain) { return chain.signed_by; });
  const auto& size = cluster->segment_size;
  wal::TimelineId newest = 1;
  for (const auto& number : plan.numbers)
    for (const auto& segment : number) newest = std::max(newest, segment.name.timeline());
  const auto first =
      plan.files == 0 ? begin->segno(size) : plan.numbers.back().front().name.segno(size) + 1;
  auto told = store::told_before(chains, wal::SegmentName(newest, first, size), is_signed && key);
  // Those of a newer timeline that are there were stored after the plan was made, and stay: a
  // recovery to an earlier point in time has just begun it.
  while (!told.empty() && told.rbegin()->timeline() > newest &&
         !insist(patience, [&] { return store::forms_of(store, layout, *told.rbegin()); }).empty())
    told.erase(std::prev(told.end()));
  if (plan.files == 0 && told.empty()) return std::nullopt;
  const auto by_others = plan.files == 0 ? told.size() : std::size_t{0};
  // Another program may have removed segments of a newer timeline.
  if (!told.empty()) newest = std::max(newest, told.rbegin()->timeline());
  begin = wal::SegmentName(newest, first, size);
  if (is_signed && !key)
    throw Error(ErrorKind::usage, "the manifest of the store is signed: pruning needs its key")
        .with("store", store.name_of(layout.wal_prefix()))
        .hint(
            "Nothing was removed. Specify --manifest-key FILE: the line with the archive's new "
            "start must be signed; otherwise, a verification would report the removed segments as "
            "lost.");
  if (dry_run) return PruneRecord{*begin, by_others};
  auto lines = store::prune_lines(chains, *begin, cluster->system_identifier, is_signed);
  store::ManifestWriter writer(store, layout, key, log);
  insist(patience, [&] {
    writer.start_with_store(std::string(store::kPruneChain));
    return true;
  });
  for (auto& line : lines) writer.append(std::move(line));
  insist(patience, [&] {
    writer.put();
    return true;
  });
  return PruneRecord{*begin, by_others};
}

}  // namespace weir::prune
