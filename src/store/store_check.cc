#include "store/store_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>

#include "archive/forms.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "base/units.h"
#include "store/cluster_record.h"
#include "store/digests.h"
#include "store/http/answers.h"
#include "store/ledger/mark.h"
#include "store/memory_bytes.h"
#include "store/shelf/store_files.h"
#include "store/write_once.h"

namespace weir::store {

namespace {

using Level = StoreFinding::Level;

constexpr std::size_t kNamed = 5;  ///< segments named of a list that may be long

StoreFinding of_error(const Error& error) { return {Level::bad, error.what(), error.hint()}; }

std::string some_of(const std::vector<std::string>& names, std::string_view between = ", ") {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kNamed; ++i)
    text.append(i > 0 ? between : "").append(names[i]);
  return names.size() > kNamed ? text.append(between) + "…" : text;
}

/// How many objects were compared by what.
struct Compared {
  std::size_t by_md5 = 0;
  std::size_t by_size = 0;
  std::size_t by_name = 0;  ///< without a line; raw segments by size as well

  [[nodiscard]] std::string to_text() const {
    std::vector<std::string> parts;
    if (by_md5 > 0) parts.push_back(fmt::format("{} by size and MD5", by_md5));
    if (by_size > 0) parts.push_back(fmt::format("{} by size", by_size));
    if (by_name > 0) parts.push_back(fmt::format("{} by name, not listed in a manifest", by_name));
    return parts.empty() ? "" : "; objects compared: " + some_of(parts);
  }
};

}  // namespace

bool StoreCheck::all_good() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const StoreFinding& each) { return each.level == Level::bad; });
}

void check_store(ObjectStore& store, const Layout& layout, std::uint64_t random, StoreCheck& result,
                 std::optional<std::uint64_t> ours) {
  auto& findings = result.findings;
  try {
    static_cast<void>(store.list(layout.wal_prefix(), "", 1));
    findings.push_back({Level::good, "the bucket can be reached, and its objects can be listed"});
    const auto cluster = read_cluster(store, layout);
    findings.push_back(
        {Level::good, cluster
                          ? fmt::format("it holds the WAL of the cluster with system identifier {}",
                                        cluster->system_identifier)
                          : std::string("no WAL has been sent to this prefix yet")});
    if (cluster && ours && cluster->system_identifier != *ours)
      findings.push_back(
          {Level::bad, fmt::format("the system identifier of this cluster is {}", *ours),
           "Its WAL is rejected. Each cluster needs its own prefix: use another prefix in --store, "
           "or another --store-name."});
    const auto key = layout.own_key(fmt::format("pgweir-check-{:016x}", random));
    const auto conditions = probe_conditions(store, key, layout.own_key("pgweir-probe"));
    switch (conditions) {
      case Conditions::heeded:
        findings.push_back({Level::good, "objects can be stored, and are never overwritten"});
        break;
      case Conditions::ignored:
      case Conditions::refused:
        findings.push_back(
            {Level::warning,
             "objects can be stored, but the store does not support \"If-None-Match\" in this "
             "bucket",
             "It cannot prevent two archivers from writing the same object. Let only one machine "
             "send to this prefix."});
        break;
    }
    constexpr std::string_view kText = "pgweir checks that it can read its own objects\n";
    MemoryBytes bytes(std::as_bytes(std::span(kText)));
    // If the probe's object could not be removed, the credentials may not permit to replace it.
    bool put = true;
    if (conditions == Conditions::heeded)
      put = store.put_if_absent(key, content_of(bytes)) == ObjectStore::Put::stored;
    else
      store.put(key, content_of(bytes));
    const bool same = get_text(store, key, std::max(kText.size(), kProbeText.size())) ==
                      (put ? kText : kProbeText);
    if (same)
      findings.push_back({Level::good, "a stored object is read back unchanged"});
    else
      findings.push_back(
          {Level::bad, "a stored object is read back with different content",
           "A proxy or gateway between this machine and the store changes objects."});
    const auto kept = store.remove(std::array{key});
    if (!kept.empty())
      findings.push_back({Level::warning, "objects cannot be removed: " + kept.front().why,
                          fmt::format("\"pgweir prune --store\" and --store-partial-interval "
                                      "need {}; archiving and restoring do not. The object {} of "
                                      "this check remains.",
                                      store.traits().right_to_remove, key)});
    else if (const auto head = store.head(key))
      findings.push_back({Level::warning, "a removed object is still there",
                          "Bucket versioning or a lock retains it. The same applies to each "
                          "object that pgweir removes."});
    else
      findings.push_back({Level::good, "objects can be removed"});
  } catch (const Error& error) {
    findings.push_back(of_error(error));
  }
}

void check_settings(ObjectStore& store, const Layout& layout, StoreCheck& result) {
  auto& findings = result.findings;
  auto* const rules = store.rules();
  if (rules == nullptr) {
    findings.push_back(
        {Level::warning, "the rules of the account or bucket cannot be read from here",
         "Check its lifecycle rules, versions and locks yourself: a rule that removes or archives "
         "objects makes the archive useless."});
    return;
  }
  const auto cannot_be_read = [&](const std::string& which, const std::string& why) {
    findings.push_back(
        {Level::warning, fmt::format("the bucket's settings ({}) cannot be read: {}", which, why),
         "These credentials do not permit it, or the store has no such settings. Check them "
         "yourself: a rule that removes or archives objects makes the archive useless."});
  };
  const auto ask = [&](const std::string& which,
                       auto parse) -> decltype(parse(std::string_view())) {
    try {
      const auto text = rules->rule(which);
      if (!text) return std::nullopt;
      if (auto parsed = parse(*text)) return parsed;
      // Some stores ignore the question, and list the bucket.
      cannot_be_read(which, "the store returned another document");
    } catch (const StoreError& error) {
      if (may_pass(error.trouble()))
        findings.push_back(of_error(error));
      else
        cannot_be_read(which, error.message());
    }
    return std::nullopt;
  };
  const auto unread = findings.size();
  if (const auto all = ask("lifecycle", parse_lifecycle))
    for (const auto& rule : *all) {
      const auto& prefix = layout.wal_prefix();
      if (!prefix.starts_with(rule.prefix) && !rule.prefix.starts_with(prefix)) continue;
      const auto name = rule.id.empty() ? std::string() : " \"" + rule.id + "\"";
      const auto some = rule.filtered ? " (some of it)" : "";
      if (rule.expires_days || rule.expires_date)
        findings.push_back(
            {Level::bad,
             fmt::format("the lifecycle rule{} removes the archive's objects{} {}", name, some,
                         rule.expires_days ? fmt::format("after {} days", *rule.expires_days)
                                           : "on " + *rule.expires_date),
             "A base backup that needs older WAL can then no longer be recovered. Exclude this "
             "prefix from the rule: \"pgweir prune --store\" keeps the WAL that backups need."});
      for (const auto& storage_class : rule.moves_to) {
        const bool frozen = storage_class.find("GLACIER") != std::string::npos ||
                            storage_class.find("ARCHIVE") != std::string::npos;
        const bool at_once = storage_class == "GLACIER_IR" || !frozen;
        findings.push_back(
            {at_once ? Level::good : Level::bad,
             fmt::format("the lifecycle rule{} moves the archive's objects{} to {}", name, some,
                         storage_class),
             at_once ? ""
                     : "Objects there cannot be read directly: a recovery stops at each one "
                       "until it has been restored in the store. Exclude this prefix from the "
                       "rule."});
      }
    }
  if (ask("versioning", parse_versioning) == "Enabled")
    findings.push_back({Level::good,
                        "the bucket keeps versions: removed and overwritten objects take space "
                        "until a lifecycle rule removes old versions"});
  if (const auto lock = ask("object-lock", parse_lock); lock && lock->enabled)
    findings.push_back(
        {Level::good,
         lock->mode.empty()
             ? std::string(
                   "objects can be locked in this bucket; the bucket has no default retention")
             : fmt::format("objects are locked for {} ({}): \"pgweir prune --store\" cannot remove "
                           "them earlier",
                           lock->period, lock->mode)});
  if (findings.size() == unread)
    findings.push_back({Level::good, "no rule of the bucket removes, moves or locks the archive"});
}

void check_end(ObjectStore& store, const Layout& layout, StoreCheck& result) {
  const auto* const versions = store.versions();
  if (versions == nullptr || !versions->are_kept()) return;
  auto& findings = result.findings;
  try {
    const auto cluster = read_cluster(store, layout);
    const auto size = cluster ? cluster->segment_size : wal::SegmentSize();
    std::optional<wal::SegmentName> newest;
    wal::TimelineId timeline = 1;
    for_each_file(store, layout, [&](const StoredFile& file) {
      if (const auto history = wal::parse_history_name(file.name))
        timeline = std::max(timeline, *history);
      const auto name = archive::SegmentFileName::parse(file.name);
      if (name && !name->partial && name->segment.fits(size) &&
          (!newest || *newest < name->segment))
        newest = name->segment;
      return true;
    });
    if (!newest) return;
    timeline = std::max(timeline, newest->timeline());
    std::vector<std::string> keys{layout.history_key(timeline + 1)};
    for (const auto& form : archive::finished_names(
             wal::SegmentName(newest->timeline(), newest->segno(size) + 1, size))) {
      keys.push_back(layout.key(form));
      keys.push_back(layout.key(form) + std::string(kAgeSuffix));
    }
    for (const auto& key : keys) {
      if (versions_of(store, key).empty()) continue;
      if (store.head(key)) continue;  // stored since the listing
      findings.push_back(
          {Level::warning,
           fmt::format("{} follows the newest WAL in the store, {}, and was removed: the bucket "
                       "has only earlier versions of it",
                       store.name_of(key), *newest),
           "Recoveries end before it. If it should not have been removed, make the last version of "
           "it, and of the objects after it, the current one again (S3: remove its delete "
           "marker), and find the program that removes them."});
      return;
    }
  } catch (const StoreError& error) {
    if (may_pass(error.trouble()))
      findings.push_back(of_error(error));
    else
      findings.push_back(
          {Level::warning,
           "whether the newest WAL was removed cannot be determined: " + error.message(),
           error.hint()});
  } catch (const Error& error) {
    findings.push_back(of_error(error));
  }
}

void compare_archive(io::Shelf& archive, ObjectStore& store, const Layout& layout,
                     const std::string& store_name, std::span<const ManifestChain> chains,
                     bool keys_given, StoreCheck& result) {
  auto& findings = result.findings;
  const auto listing = archive::list_archive(archive);
  const auto mark = read_mark(archive);
  bool is_its_mark = true;  // as far as its WAL shows
  try {
    const auto found = archive::read_identity(archive, listing);
    is_its_mark = !found || (mark && mark->system_identifier == found->system_identifier);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    findings.push_back(of_error(error));
  }
  const bool sent_here = mark && !mark->empty() && mark->store == store_name && is_its_mark;
  const bool sent_elsewhere = mark && !mark->empty() && mark->store != store_name && is_its_mark;
  if (!sent_here)
    findings.push_back(
        {Level::warning, "this archive has not been sent to this prefix yet",
         sent_elsewhere
             ? fmt::format("It was sent to {}. Check --store and --store-name.", mark->store)
             : std::string()});

  std::map<std::string, std::uint64_t> here;
  std::set<wal::SegmentName> finished;
  for (const auto& entry : listing.segments) {
    if (entry.name.partial) continue;
    here[entry.name.to_string()] = entry.bytes.value_or(0);
    finished.insert(entry.name.segment);
  }
  const auto told = told_objects(chains, keys_given);
  const auto begins = recorded_begins(chains, keys_given);
  std::set<wal::SegmentName> there;
  std::set<wal::TimelineId> histories;
  std::vector<std::string> sizes;
  std::vector<std::string> changed;
  Compared compared;
  for_each_file(store, layout, [&](const StoredFile& file) {
    if (const auto timeline = wal::parse_history_name(file.name)) histories.insert(*timeline);
    const auto name = archive::SegmentFileName::parse(file.name);
    if (!name || name->partial) return true;
    there.insert(name->segment);
    if (!finished.contains(name->segment)) return true;
    const auto lines = told.find(file.object.key.substr(file.object.key.rfind('/') + 1));
    if (lines != told.end()) {
      const auto fit = fit_of(file.object, lines->second);
      if (!fit.same)
        changed.push_back(fmt::format("{}: {}", lines->first, fit.difference));
      else
        ++(fit.by_size ? compared.by_size : compared.by_md5);
      return true;
    }
    ++compared.by_name;
    const auto ours = here.find(file.name);
    // Another compressor may give another size; a raw file has one size only.
    if (ours != here.end() && name->method == codec::Method::none &&
        !file.object.key.ends_with(kAgeSuffix) && ours->second != file.object.size)
      sizes.push_back(file.name);
    return true;
  });
  std::vector<std::string> lost;
  std::size_t pending = 0;
  for (const auto& segment : finished) {
    if (there.contains(segment) || is_pruned(segment, begins)) continue;
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
         "Find out which program removes them. The next \"pgweir store push\" uploads them again. "
         "Segments before the first one in the store count as pruned: \"pgweir prune --store ... "
         "--keep-from SEGMENT\" records that."});
  if (!changed.empty())
    findings.push_back(
        {Level::bad,
         fmt::format("{} {} not match the manifest: {}", counted(changed.size(), "object"),
                     changed.size() == 1 ? "does" : "do", some_of(changed, "; ")),
         "Another program has replaced them. \"pgweir verify --store ... --deep\" reads them. "
         "Delete "
         "an invalid object: the next \"pgweir store push\" uploads the segment again."});
  if (!sizes.empty())
    findings.push_back({Level::bad,
                        fmt::format("{} segments have the wrong size in the store: {}",
                                    sizes.size(), some_of(sizes)),
                        "They are not segments: another program wrote them."});
  if (lost.empty() && sizes.empty() && changed.empty())
    findings.push_back({Level::good, fmt::format("{} of {} complete segments are in the store{}",
                                                 std::count_if(finished.begin(), finished.end(),
                                                               [&](const auto& each) {
                                                                 return there.contains(each);
                                                               }),
                                                 finished.size(), compared.to_text())});
  if (pending > 0)
    findings.push_back({Level::warning, fmt::format("{} files are waiting to be sent", pending)});
}

}  // namespace weir::store
