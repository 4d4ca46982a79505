#include "store/send/upload_start.h"

#include <fmt/format.h>

#include <utility>

#include "store/listing.h"

namespace weir::store {

UploadStart starting_mark(io::Shelf& archive, const std::string& store_name,
                          const archive::Identity& cluster, Log& log) {
  Mark mark{store_name, cluster.system_identifier, cluster.segment_size, {}, {}};
  auto found = read_mark(archive);
  const bool marked = found && found->system_identifier == mark.system_identifier &&
                      found->segment_size == mark.segment_size;
  bool returned = false;
  if (marked && found->store == mark.store) {
    // Every marked file has a line. If no manifest is known, everything is checked, and gets a
    // line, again.
    returned = !std::exchange(found->next_store, {}).empty();
    if (auto manifest = read_manifest_memory(archive))
      return {std::move(*found), std::move(manifest), returned};
  } else if (found && !found->empty()) {
    log.info("the archive was sent to {} until now; checking which files this store has",
             found->store);
  }
  if (marked && found->store != mark.store && !found->empty()) {
    found->next_store = mark.store;
    return {std::move(mark), std::nullopt, false, std::move(found),
            read_manifest_memory(archive).value_or(ManifestMemory())};
  }
  // A prune names the store of the mark: an empty one of another store would mislead.
  const bool stays = marked && found->store == mark.store && !returned;
  return {std::move(mark), std::nullopt, !stays};
}

Conditions tell_conditions(ObjectStore& store, const Layout& layout, std::uint64_t random,
                           Log& log) {
  const auto conditions =
      probe_conditions(store, layout.own_key(fmt::format("pgweir-probe-{:016x}", random)),
                       layout.own_key("pgweir-probe"));
  if (conditions != Conditions::heeded)
    log.warning(
        "the store {} \"If-None-Match\" in this bucket: it cannot prevent two archivers from "
        "writing the same object",
        conditions == Conditions::ignored ? "ignores" : "rejects");
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
    const auto last = range.second;
    for_each_listed(layout.before(range.first, size), list, [&](const ObjectEntry& object) {
      const auto name = layout.file_of(object.key);
      const auto file = name ? archive::SegmentFileName::parse(*name) : std::nullopt;
      if (!file || file->partial) return true;
      if (last < file->segment) return false;  // after everything to be sent on this timeline
      if (const auto wanted = there.find(file->segment); wanted != there.end())
        wanted->second.push_back(*file);
      return true;
    });
  }
  return there;
}

}  // namespace weir::store
