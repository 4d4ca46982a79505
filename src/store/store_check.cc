#include "store/store_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <span>
#include <string_view>

#include "archive/identity.h"
#include "archive/listing.h"
#include "store/cluster_record.h"
#include "store/mark.h"
#include "store/store_files.h"
#include "store/write_once.h"

namespace weir::store {

namespace {

using Level = StoreFinding::Level;

constexpr std::size_t kNamed = 5;  ///< segments, of a list that may be long

StoreFinding of_error(const Error& error) { return {Level::bad, error.what(), error.hint()}; }

std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kNamed; ++i)
    text += (i > 0 ? ", " : "") + names[i];
  return names.size() > kNamed ? text + ", …" : text;
}

}  // namespace

bool StoreCheck::all_good() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const StoreFinding& each) { return each.level == Level::bad; });
}

void check_store(ObjectStore& store, const Layout& layout, std::uint64_t random,
                 StoreCheck& result) {
  auto& findings = result.findings;
  try {
    static_cast<void>(store.list(layout.wal_prefix(), "", 1));
    findings.push_back({Level::good, "the bucket can be reached, and its objects listed"});
    const auto cluster = read_cluster(store, layout);
    findings.push_back(
        {Level::good, cluster
                          ? fmt::format("it holds the WAL of the cluster with system identifier {}",
                                        cluster->system_identifier)
                          : std::string("nobody has sent WAL to this place so far")});
    const auto key = layout.own_key(fmt::format("pgweir-check-{:016x}", random));
    switch (probe_conditions(store, key)) {
      case Conditions::heeded:
        findings.push_back({Level::good, "objects can be stored, and are never overwritten"});
        break;
      case Conditions::ignored:
      case Conditions::refused:
        findings.push_back(
            {Level::warning,
             "objects can be stored, but the store does not heed \"If-None-Match\" in this bucket",
             "It cannot keep two archivers apart that write one object at the same moment: let one "
             "machine send to this place."});
        break;
    }
    if (const auto head = store.head(key))
      findings.push_back({Level::warning, "a removed object is still there",
                          "Versions or a lock keep it; what pgweir removes stays until then."});
    else
      findings.push_back({Level::good, "objects can be removed"});
  } catch (const Error& error) {
    findings.push_back(of_error(error));
  }
}

void compare_archive(io::Shelf& archive, ObjectStore& store, const Layout& layout,
                     const std::string& store_name, StoreCheck& result) {
  auto& findings = result.findings;
  const auto listing = archive::list_archive(archive);
  const auto identity = archive::read_identity(archive, listing);
  const auto mark = read_mark(archive);
  const bool sent_here = mark && mark->store == store_name && identity &&
                         mark->system_identifier == identity->system_identifier;
  if (!sent_here)
    findings.push_back({Level::warning, "this archive was not sent to this place so far"});

  std::map<std::string, std::uint64_t> here;
  for (const auto& entry : listing.segments)
    if (!entry.name.partial) here[entry.name.to_string()] = entry.bytes.value_or(0);
  std::set<wal::SegmentName> there;
  std::set<wal::TimelineId> histories;
  std::vector<std::string> sizes;
  for_each_file(store, layout, [&](const StoredFile& file) {
    if (const auto timeline = wal::parse_history_name(file.name)) histories.insert(*timeline);
    const auto name = archive::SegmentFileName::parse(file.name);
    if (!name || name->partial) return true;
    there.insert(name->segment);
    const auto ours = here.find(file.name);
    // Compressed by another one it may have another size; raw it has one size only.
    if (ours != here.end() && name->method == codec::Method::none &&
        ours->second != file.object.size)
      sizes.push_back(file.name);
    return true;
  });
  std::set<wal::SegmentName> finished;
  for (const auto& entry : listing.segments)
    if (!entry.name.partial) finished.insert(entry.name.segment);
  std::vector<std::string> lost;
  std::size_t pending = 0;
  for (const auto& segment : finished) {
    if (there.contains(segment)) continue;
    if (sent_here && mark->has(segment))
      lost.push_back(segment.to_string());
    else
      ++pending;
  }
  for (const auto& history : listing.histories)
    if (!histories.contains(history.timeline)) {
      if (sent_here && mark->has_history(history.timeline))
        lost.push_back(wal::history_name(history.timeline));
      else
        ++pending;
    }
  if (!lost.empty())
    findings.push_back(
        {Level::bad,
         fmt::format("{} of the files that were sent are no longer in the store: {}", lost.size(),
                     some_of(lost)),
         fmt::format("Find out who removes them. Remove {} in the archive's directory: the next "
                     "\"pgweir store push\" asks for each file, and sends again what is not there.",
                     kMarkName)});
  if (!sizes.empty())
    findings.push_back({Level::bad,
                        fmt::format("{} segments have another size in the store: {}", sizes.size(),
                                    some_of(sizes)),
                        "They are no segments: somebody else has written there."});
  if (lost.empty() && sizes.empty())
    findings.push_back({Level::good, fmt::format("{} of {} finished segments are in the store",
                                                 std::count_if(finished.begin(), finished.end(),
                                                               [&](const auto& each) {
                                                                 return there.contains(each);
                                                               }),
                                                 finished.size())});
  if (pending > 0)
    findings.push_back({Level::warning, fmt::format("{} files wait to be sent", pending)});
}

}  // namespace weir::store
