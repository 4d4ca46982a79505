#include "store/upload_start.h"

#include <fmt/format.h>

#include <utility>

namespace weir::store {

UploadStart starting_mark(io::Shelf& archive, const std::string& store_name,
                          const archive::Identity& cluster, Log& log) {
  Mark mark{store_name, cluster.system_identifier, cluster.segment_size, {}, {}};
  auto found = read_mark(archive);
  const bool ours = found && found->store == mark.store &&
                    found->system_identifier == mark.system_identifier &&
                    found->segment_size == mark.segment_size;
  if (ours) {
    // Of what is marked a line tells. Where none is known, all is asked for, and told, again.
    if (auto manifest = read_manifest_memory(archive))
      return {std::move(*found), std::move(manifest)};
  } else if (found) {
    log.info("the archive was sent to {} so far: this store is asked what it has", found->store);
  }
  return {std::move(mark), std::nullopt};
}

Conditions tell_conditions(ObjectStore& store, const Layout& layout, std::uint64_t random,
                           Log& log) {
  const auto conditions =
      probe_conditions(store, layout.own_key(fmt::format("pgweir-probe-{:016x}", random)));
  if (conditions != Conditions::heeded)
    log.warning(
        "the store {} \"If-None-Match\" in this bucket: it cannot keep two archivers that "
        "write at the same moment apart",
        conditions == Conditions::ignored ? "does not heed" : "does not know");
  return conditions;
}

FormsThere forms_there(const std::vector<UploadItem>& items, wal::SegmentSize size,
                       const Layout& layout,
                       const std::function<ObjectPage(const std::string& after)>& list) {
  FormsThere there;
  std::map<wal::TimelineId, std::pair<wal::SegmentName, wal::SegmentName>> ranges;
  for (const auto& item : items) {
    if (!item.segment) continue;
    there.try_emplace(*item.segment);
    const auto [at, is_new] =
        ranges.try_emplace(item.timeline, std::pair(*item.segment, *item.segment));
    if (!is_new) at->second.second = *item.segment;
  }
  for (const auto& [timeline, range] : ranges) {
    auto after = layout.before(range.first, size);
    for (bool more = true; more;) {
      const auto page = list(after);
      more = page.more && !page.objects.empty();
      for (const auto& object : page.objects) {
        after = object.key;
        const auto name = layout.file_of(object.key);
        const auto file = name ? archive::SegmentFileName::parse(*name) : std::nullopt;
        if (!file || file->partial) continue;
        if (range.second < file->segment) {
          more = false;  // behind all that is to be sent of this timeline
          break;
        }
        if (const auto wanted = there.find(file->segment); wanted != there.end())
          wanted->second.push_back(*file);
      }
    }
  }
  return there;
}

}  // namespace weir::store
